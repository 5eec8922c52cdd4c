-- What was decided about a thing: its records without those of what was refused, which anybody can bring about. The newest
-- is the thing's version, found at one step however many refusals came after it.
CREATE INDEX audit_decided ON audit (object)
WHERE CASE WHEN json_valid(CAST(record AS TEXT))
    THEN json_extract(CAST(record AS TEXT), '$.action') NOT GLOB '*.refuse' ELSE 1 END;
