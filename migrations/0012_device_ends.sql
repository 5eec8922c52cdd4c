-- Ends are asked of active devices alone, and counted by environment: the index says it without the device's row.
DROP INDEX device_by_not_after;
CREATE INDEX device_by_not_after ON device (not_after, environment) WHERE state = 'active';
