-- People, what they log in with, and their sessions. Times are milliseconds since 1970-01-01T00:00:00Z.

CREATE TABLE person (
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    role               TEXT NOT NULL,
    environments       TEXT NOT NULL,         -- JSON array of names; empty: everywhere
    created_at         INTEGER NOT NULL,
    ended_at           INTEGER,
    last_seen_at       INTEGER,
    joined             INTEGER NOT NULL,      -- has made a way in
    invitation         BLOB,                  -- SHA-256 of the open invitation's token
    invitation_expires INTEGER,
    password           TEXT,                  -- Argon2id, as a PHC string; its TOTP secret is in `secret`, kind `totp`
    totp_step          INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX person_name ON person (name) WHERE ended_at IS NULL;

CREATE TABLE passkey (
    id           BLOB PRIMARY KEY,            -- the credential id (WebAuthn §4)
    person       TEXT NOT NULL REFERENCES person (id),
    label        TEXT NOT NULL,
    data         TEXT NOT NULL,               -- JSON: public key, counter
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER
) WITHOUT ROWID;
CREATE INDEX passkey_by_person ON passkey (person);

CREATE TABLE recovery_code (
    person  TEXT NOT NULL REFERENCES person (id),
    hash    BLOB NOT NULL,                    -- SHA-256 of 100 random bits
    used_at INTEGER,
    PRIMARY KEY (person, hash)
) WITHOUT ROWID;

CREATE TABLE web_session (
    hash         BLOB PRIMARY KEY,            -- SHA-256 of the secret in the cookie
    id           TEXT NOT NULL UNIQUE,
    person       TEXT NOT NULL REFERENCES person (id),
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    fresh_until  INTEGER NOT NULL,
    address      TEXT NOT NULL,
    agent        TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX web_session_by_person ON web_session (person);
