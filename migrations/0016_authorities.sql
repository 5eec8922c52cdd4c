-- A CA is followed by another of its name with a new key; the one before stays until what it signed has ended.

ALTER TABLE authority ADD COLUMN succeeded_at INTEGER; -- when it was followed; none for a CA that signs, or is to sign
