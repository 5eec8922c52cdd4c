-- What of the audit log is archived in files elsewhere, and from which record on it is kept here.
-- root is that of the tree over all records before `before`; sha256 is that of the file.
CREATE TABLE log_archive (
    before      INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    root        BLOB NOT NULL,
    sha256      BLOB NOT NULL,
    bytes       INTEGER NOT NULL,
    archived_at INTEGER NOT NULL,
    PRIMARY KEY (before, first)
) WITHOUT ROWID;

CREATE TABLE log_start (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    first INTEGER NOT NULL
);
INSERT INTO log_start VALUES (1, 0);

-- The hashes of the largest whole subtrees before the first record here, by their stored index: with them every proof of what
-- is here can be made.
CREATE TABLE log_kept (
    place INTEGER PRIMARY KEY,
    hash  BLOB NOT NULL
);

-- What was in the records that are gone from here: of each thing how many, and the newest that decided something about it.
CREATE TABLE log_gone (
    object  TEXT PRIMARY KEY,
    records INTEGER NOT NULL,
    decided INTEGER
) WITHOUT ROWID;
