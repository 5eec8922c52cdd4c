-- What lists are sorted and searched by. Times are milliseconds since 1970-01-01T00:00:00Z.

-- A device's newest certificate, so that a page of devices is one query.
ALTER TABLE device ADD COLUMN newest INTEGER REFERENCES certificate (id);
ALTER TABLE device ADD COLUMN not_after INTEGER;
UPDATE device SET
    newest = (SELECT max(c.id) FROM certificate c WHERE c.device = device.id);
UPDATE device SET
    not_after = (SELECT c.not_after FROM certificate c WHERE c.id = device.newest);
CREATE INDEX device_by_not_after ON device (not_after);
CREATE INDEX device_by_last_seen ON device (last_seen_at);

-- What happened to a thing: the object of its record, beside the bytes that were hashed.
ALTER TABLE audit ADD COLUMN object TEXT;
UPDATE audit SET object = json_extract(CAST(record AS TEXT), '$.object')
WHERE json_valid(CAST(record AS TEXT));
CREATE INDEX audit_by_object ON audit (object);
