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
    CHECK ((role IS NULL) = (environments IS NULL)
       AND (role IS NULL) = (environment IS NOT NULL AND grants IS NOT NULL))
) WITHOUT ROWID;
INSERT INTO new_token (id, name, environment, grants, owner, purpose, binding, hash, ttl, ceiling, created_at,
                       authorized_at, expires_at, revoked_at, uses, last_used_at, last_address)
    SELECT id, name, environment, grants, owner, purpose, binding, hash, ttl, ceiling, created_at,
           authorized_at, expires_at, revoked_at, uses, last_used_at, last_address FROM token;
DROP TABLE token;
ALTER TABLE new_token RENAME TO token;
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked_at IS NULL;
