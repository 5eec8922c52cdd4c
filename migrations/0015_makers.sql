-- Who has handed something out: it is good no longer than they may. Not known of what was handed out before, nor of what was
-- on the gateway's own machine.

ALTER TABLE person ADD COLUMN invited_by TEXT; -- the id of the person who made the open invitation
ALTER TABLE claim ADD COLUMN opened_by TEXT;   -- the id of the person or the token who opened it
