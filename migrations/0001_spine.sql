-- The registry, the vault, the audit log, the outbox and the broker's memory.
-- Times are milliseconds since 1970-01-01T00:00:00Z. Fingerprints are SHA-256, 32 bytes.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE environment (
    name       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE profile (
    name     TEXT PRIMARY KEY,
    toml     TEXT NOT NULL,
    built_in INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE device (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL,
    environment     TEXT NOT NULL REFERENCES environment (name),
    profile         TEXT NOT NULL REFERENCES profile (name),
    owner           TEXT NOT NULL,
    purpose         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    rotate_asked_at INTEGER,               -- an operator wants every certificate issued before this replaced
    last_seen_at    INTEGER,
    last_address    TEXT,
    trust_bundle    BLOB                   -- SHA-256 of the trust bundle that it says it uses
);

CREATE TABLE claim (
    id               TEXT PRIMARY KEY,
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
) WITHOUT ROWID;
CREATE INDEX claim_by_device ON claim (device);
CREATE INDEX claim_by_expiry ON claim (expires_at);

-- One secondary index, so that issuing costs the same whether a thousand or a million are stored.
CREATE TABLE certificate (
    id           INTEGER PRIMARY KEY,
    device       INTEGER NOT NULL REFERENCES device (id),
    fingerprint  BLOB NOT NULL,
    serial       BLOB NOT NULL,
    environment  TEXT NOT NULL,
    key          BLOB NOT NULL,
    lineage      BLOB NOT NULL,
    generation   INTEGER NOT NULL,
    state        TEXT NOT NULL,
    not_before   INTEGER NOT NULL,
    not_after    INTEGER NOT NULL,
    renew_after  INTEGER NOT NULL,
    renew_before INTEGER NOT NULL,
    issued_at    INTEGER NOT NULL,
    revoked_at   INTEGER,
    reason       TEXT,
    der          BLOB NOT NULL
);
CREATE INDEX certificate_by_device ON certificate (device);
CREATE INDEX certificate_revoked ON certificate (environment, revoked_at) WHERE state = 'revoked';

CREATE TABLE authority (
    name        TEXT PRIMARY KEY,          -- root, server, issuing/<environment>
    certificate BLOB NOT NULL,
    crl_number  INTEGER NOT NULL
) WITHOUT ROWID;

-- AES-256-GCM under a data key of its own, which is wrapped by the key-encryption key of an epoch.
CREATE TABLE secret (
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    wrapped    BLOB NOT NULL,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name, version)
) WITHOUT ROWID;

-- seq is the leaf's index; hashes are those of the subtrees that this leaf completes, lowest first.
CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY,
    record BLOB NOT NULL,
    hashes BLOB NOT NULL
);

CREATE TABLE checkpoint (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    note BLOB NOT NULL
);

CREATE TABLE outbox (
    id     INTEGER PRIMARY KEY,
    effect TEXT NOT NULL
);

CREATE TABLE broker_state (
    kind  TEXT NOT NULL,
    key   TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
