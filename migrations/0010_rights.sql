-- Rights held against rights used. Times are milliseconds since 1970-01-01T00:00:00Z.

ALTER TABLE device ADD COLUMN narrowing TEXT;      -- JSON: what is kept of the profile's rights; null: everything
ALTER TABLE device ADD COLUMN narrowed_at INTEGER;
ALTER TABLE device ADD COLUMN rights_since INTEGER; -- since when uses are counted; null: since it was first named
UPDATE device SET rights_since = CAST(strftime('%s', 'now') AS INTEGER) * 1000;

CREATE TABLE right_use (
    device       INTEGER NOT NULL REFERENCES device (id),
    verb         TEXT NOT NULL,
    filter       TEXT NOT NULL,
    uses         INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (device, verb, filter)
) WITHOUT ROWID;
