-- News of rotations on their way to the places of use that can be told, each until it is told or given up.

CREATE TABLE errand (
    id INTEGER PRIMARY KEY,
    credential TEXT NOT NULL,           -- bridge/key
    environment TEXT NOT NULL,
    place TEXT NOT NULL,                -- the bridge that is told
    event TEXT NOT NULL,                -- switch, done, undone
    version INTEGER NOT NULL,           -- the one that is current
    deadline INTEGER,                   -- until when the other one lives, ms
    tries INTEGER NOT NULL,             -- that failed
    not_before INTEGER NOT NULL         -- the next try, ms
);
