-- Claims in the order of their opening. Ordered by their random ids, every use of a claim dirtied a
-- page of its own; now claims that are used together share one.

CREATE TABLE claim_in_order (
    number           INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    device           TEXT NOT NULL,
    state            TEXT NOT NULL,
    secret_hash      BLOB NOT NULL,
    wrong_tries      INTEGER NOT NULL,
    opened_at        INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    used_key         BLOB,
    used_certificate BLOB,
    used_at          INTEGER,
    presented_key    BLOB,
    approved_key     BLOB
);
INSERT INTO claim_in_order (id, device, state, secret_hash, wrong_tries, opened_at, expires_at,
        used_key, used_certificate, used_at, presented_key, approved_key)
    SELECT id, device, state, secret_hash, wrong_tries, opened_at, expires_at,
        used_key, used_certificate, used_at, presented_key, approved_key
    FROM claim ORDER BY opened_at;
DROP TABLE claim;
ALTER TABLE claim_in_order RENAME TO claim;
CREATE INDEX claim_by_device ON claim (device);
CREATE INDEX claim_by_expiry ON claim (expires_at);

-- Notices follow from the registry and are published when their device listens.
DELETE FROM outbox WHERE effect LIKE '{"notice":%';
