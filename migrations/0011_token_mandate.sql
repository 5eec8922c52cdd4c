-- A token has grants in one environment, or a role: then it manages the home from elsewhere, as far as that role reaches.

CREATE TABLE new_token (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    environment   TEXT REFERENCES environment (name), -- of the grants
    grants        TEXT,                   -- JSON: ["hue/api-key:read", …]
    role          TEXT,
    environments  TEXT,                   -- of the role; JSON array of names; empty: everywhere
    owner         TEXT NOT NULL,
    purpose       TEXT NOT NULL,
    binding       TEXT NOT NULL,          -- key:THUMBPRINT, device:ID or certificate:SHA256
    hash          BLOB NOT NULL UNIQUE,
    ttl           INTEGER NOT NULL,
    ceiling       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    authorized_at INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    revoked_at    INTEGER,
    uses          INTEGER NOT NULL DEFAULT 0,
    last_used_at  INTEGER,
    last_address  TEXT,
    made_by       TEXT NOT NULL DEFAULT '', -- as the audit log names them; not known of older ones
    CHECK (CASE WHEN role IS NULL THEN environment IS NOT NULL AND grants IS NOT NULL AND environments IS NULL
                ELSE environment IS NULL AND grants IS NULL AND environments IS NOT NULL END)
) WITHOUT ROWID;
INSERT INTO new_token (id, name, environment, grants, owner, purpose, binding, hash, ttl, ceiling, created_at,
                       authorized_at, expires_at, revoked_at, uses, last_used_at, last_address)
    SELECT id, name, environment, grants, owner, purpose, binding, hash, ttl, ceiling, created_at,
           authorized_at, expires_at, revoked_at, uses, last_used_at, last_address FROM token;
DROP TABLE token;
ALTER TABLE new_token RENAME TO token;
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked_at IS NULL;
