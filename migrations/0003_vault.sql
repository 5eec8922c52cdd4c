-- The vault: credentials and their versions, bridges, rotations, leases, findings.
-- A version's value lies in `secret`, kind `credential`, name `<environment>/<bridge>/<key>`.

-- The epoch of the key-encryption key under which an environment's new values are sealed.
ALTER TABLE environment ADD COLUMN kek_epoch INTEGER NOT NULL DEFAULT 1;

CREATE TABLE credential (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL,             -- bridge/key
    environment    TEXT NOT NULL REFERENCES environment (name),
    kind           TEXT NOT NULL,
    owner          TEXT NOT NULL,
    purpose        TEXT NOT NULL,
    tier           TEXT NOT NULL,
    custody        TEXT NOT NULL,
    location       TEXT,                      -- of a value that is kept elsewhere
    provenance     TEXT NOT NULL,             -- JSON
    state          TEXT NOT NULL,
    rotation       TEXT NOT NULL,             -- JSON
    used_by        TEXT NOT NULL,             -- JSON list
    scopes         TEXT NOT NULL,             -- JSON list: as declared
    expires_at     INTEGER,
    found_scopes   TEXT,                      -- JSON list: as the bridge said when it was last asked
    privileged     INTEGER,                   -- whether the bridge said that it may do everything
    verified_at    INTEGER,                   -- when the bridge last took the current value
    last_used_at   INTEGER,
    last_used_by   TEXT,
    uses           INTEGER NOT NULL DEFAULT 0, -- of the current version
    shred_at       INTEGER,                   -- when the data keys of a retired one are destroyed
    UNIQUE (name, environment)
);

CREATE INDEX credential_automatic ON credential (id) WHERE rotation ->> 'automatic' = 1;

CREATE TABLE credential_version (
    credential  INTEGER NOT NULL REFERENCES credential (id),
    version     INTEGER NOT NULL,
    state       TEXT NOT NULL,
    fingerprint BLOB NOT NULL,                -- HMAC-SHA256 of the value under a key of the home
    bytes       INTEGER NOT NULL,
    origin      TEXT NOT NULL,
    remote_id   TEXT,                         -- what the bridge calls it
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    ended_at    INTEGER,                      -- when it was replaced for good
    PRIMARY KEY (credential, version)
) WITHOUT ROWID;
CREATE INDEX credential_version_by_fingerprint ON credential_version (fingerprint);

CREATE TABLE rotation (
    id           INTEGER PRIMARY KEY,
    credential   INTEGER NOT NULL REFERENCES credential (id),
    step         TEXT NOT NULL,               -- the step that is next
    from_version INTEGER,
    to_version   INTEGER,
    reason       TEXT NOT NULL,
    begun_by     TEXT NOT NULL,
    begun_at     INTEGER NOT NULL,
    deadline     INTEGER,
    dependents   TEXT NOT NULL,               -- JSON list
    confirmed    TEXT NOT NULL,               -- JSON list
    tries        INTEGER NOT NULL,
    not_before   INTEGER NOT NULL,
    notes        TEXT NOT NULL,               -- JSON list
    ended_at     INTEGER
);
CREATE UNIQUE INDEX rotation_running ON rotation (credential) WHERE ended_at IS NULL;
CREATE INDEX rotation_by_credential ON rotation (credential);

CREATE TABLE lease (
    id         TEXT PRIMARY KEY,
    credential INTEGER NOT NULL REFERENCES credential (id),
    version    INTEGER NOT NULL,
    holder     TEXT NOT NULL,
    address    TEXT,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    child      INTEGER NOT NULL,              -- a child credential was minted; its value is sealed as kind `lease`
    remote_id  TEXT,
    ended_at   INTEGER,
    ended_by   TEXT,
    note       TEXT
) WITHOUT ROWID;
CREATE INDEX lease_running ON lease (expires_at) WHERE ended_at IS NULL;

CREATE TABLE bridge (
    name        TEXT NOT NULL,
    environment TEXT NOT NULL REFERENCES environment (name),
    kind        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    purpose     TEXT NOT NULL,
    settings    TEXT NOT NULL,                -- JSON, without secrets
    authority   TEXT,                         -- the credential by which it is administered
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    PRIMARY KEY (name, environment)
) WITHOUT ROWID;

CREATE TABLE finding (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    severity    TEXT NOT NULL,
    object      TEXT NOT NULL,
    what        TEXT NOT NULL,
    remedy      TEXT NOT NULL,
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    resolved_at INTEGER
) WITHOUT ROWID;

-- What has been seen of a principal that reads secrets: `address:…`, `hour:…` (UTC).
CREATE TABLE habit (
    principal  TEXT NOT NULL,
    fact       TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    PRIMARY KEY (principal, fact)
) WITHOUT ROWID;
