-- Service tokens. Of the token itself only its SHA-256 is kept. A name is free again once its token
-- is revoked; until then it is one token's alone.

CREATE TABLE token (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    environment   TEXT NOT NULL REFERENCES environment (name),
    grants        TEXT NOT NULL,          -- JSON: ["hue/api-key:read", …]
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
    last_address  TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked_at IS NULL;
