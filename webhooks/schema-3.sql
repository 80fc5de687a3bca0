-- Order is by connection and by recording: an event that waits for no other one is a head, and may be sent.
ALTER TABLE outbox ADD COLUMN recording_id TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN is_head INTEGER NOT NULL DEFAULT 0;

-- Ages do not depend on the wall clock: for how long the outbox has been in use, and since when it has an entry.
ALTER TABLE outbox_cursor ADD COLUMN uptime_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN created_uptime_ns INTEGER NOT NULL DEFAULT 0;

-- Whether this node tried it, and then the cluster was told that nobody has to: it stays this node's.
ALTER TABLE outbox ADD COLUMN is_ours INTEGER NOT NULL DEFAULT 0;

UPDATE outbox SET recording_id = coalesce(CAST(CASE WHEN json_valid(CAST(body AS TEXT))
  THEN json_extract(CAST(body AS TEXT), '$.data.recording_id') END AS TEXT), '')
WHERE state IN ('pending', 'dead');
UPDATE outbox SET is_ours = 1 WHERE state = 'dead';

DROP INDEX outbox_heads;
DROP INDEX outbox_dead;
CREATE INDEX outbox_connections ON outbox (channel_id, connection_id, seq) WHERE state = 'pending';
CREATE INDEX outbox_recordings ON outbox (recording_id, connection_id, seq) WHERE state = 'pending';
CREATE INDEX outbox_heads ON outbox (due_wall_ns, seq, channel_id) WHERE state = 'pending' AND is_head = 1;
CREATE INDEX outbox_dead ON outbox (created_uptime_ns) WHERE state = 'dead';

-- state may be `parked`, too: refused for good, and nothing waits for it.
CREATE INDEX outbox_parked ON outbox (type, attempts, seq) WHERE state = 'parked';
CREATE INDEX outbox_parked_since ON outbox (created_uptime_ns) WHERE state = 'parked';

UPDATE outbox AS later SET is_head = NOT (
  later.connection_id <> '' AND EXISTS (
    SELECT 1 FROM outbox AS earlier WHERE earlier.state = 'pending' AND earlier.channel_id = later.channel_id
    AND earlier.connection_id = later.connection_id AND earlier.seq < later.seq)
  OR later.recording_id <> '' AND EXISTS (
    SELECT 1 FROM outbox AS earlier WHERE earlier.state = 'pending' AND earlier.recording_id = later.recording_id
    AND earlier.connection_id = '' AND earlier.seq < later.seq)
  OR later.recording_id <> '' AND later.connection_id = '' AND EXISTS (
    SELECT 1 FROM outbox AS earlier WHERE earlier.state = 'pending' AND earlier.recording_id = later.recording_id
    AND earlier.seq < later.seq)
) WHERE later.state = 'pending';
