-- Findings that somebody has accepted, with who answers for it and until when. Times are milliseconds since
-- 1970-01-01T00:00:00Z.
CREATE TABLE acceptance (
    finding     TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    accepted_by TEXT NOT NULL,
    until       INTEGER
) WITHOUT ROWID;
