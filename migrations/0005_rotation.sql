-- What a rotation knows of its bridge, its overlap and its values' ends; and one current value, never two.

ALTER TABLE rotation ADD COLUMN overlap_ms INTEGER;                    -- how long both values live, if that was said
ALTER TABLE rotation ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;      -- the bridge was asked for a value, and has not answered
ALTER TABLE rotation ADD COLUMN other_expires_at INTEGER;              -- when the version that is not current ends

-- A credential that is out of use has no value that is given out.
UPDATE credential_version SET state = 'retired', ended_at = coalesce(ended_at, created_at)
WHERE state IN ('pending', 'current', 'previous')
AND credential IN (SELECT id FROM credential WHERE state <> 'active');

CREATE UNIQUE INDEX credential_version_current ON credential_version (credential) WHERE state = 'current';
