-- How far each consumer has read the event log.
CREATE TABLE consumers (
  name TEXT PRIMARY KEY,
  cursor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO consumers SELECT 'webhooks', cursor FROM outbox_cursor;

-- For how long the outbox has been in use, and how many deliveries were pruned.
CREATE TABLE outbox_totals (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  uptime_ns INTEGER NOT NULL,
  pruned INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_totals SELECT 1, uptime_ns, forgotten FROM outbox_cursor;
DROP TABLE outbox_cursor;

-- One event on its way to one destination. state: pending | delivered | parked | dead | unsent (skipped)
CREATE TABLE deliveries (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  consumer TEXT NOT NULL,
  destination TEXT NOT NULL,
  event_id TEXT NOT NULL,
  type TEXT NOT NULL,
  channel_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  recording_id TEXT NOT NULL,
  body BLOB NOT NULL,
  created_wall_ns INTEGER NOT NULL,
  created_uptime_ns INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_wall_ns INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '',
  is_away INTEGER NOT NULL DEFAULT 0,
  is_ours INTEGER NOT NULL DEFAULT 0,
  is_blocked INTEGER NOT NULL DEFAULT 1,
  UNIQUE (event_id, consumer, destination)
) STRICT;
INSERT INTO deliveries
  SELECT seq, 'webhooks', 'default', event_id, type, channel_id, session_id, connection_id, recording_id, body,
    created_wall_ns, created_uptime_ns, state, attempts, due_wall_ns, last_error, is_away, is_ours,
    state = 'pending' AND NOT is_head
  FROM outbox ORDER BY seq;

-- A number is never used twice, not even that of a row that is gone.
DELETE FROM sqlite_sequence WHERE name = 'deliveries';
UPDATE sqlite_sequence SET name = 'deliveries' WHERE name = 'outbox';
DROP TABLE outbox;

-- What a pending delivery may have to wait for; see blocking.py.
CREATE INDEX deliveries_connections ON deliveries (channel_id, connection_id, consumer, destination, seq)
  WHERE state = 'pending';
CREATE INDEX deliveries_recordings ON deliveries (recording_id, consumer, destination, connection_id, seq)
  WHERE state = 'pending';
CREATE INDEX deliveries_due ON deliveries (consumer, destination, due_wall_ns, seq, channel_id)
  WHERE state = 'pending' AND is_blocked = 0;
CREATE INDEX deliveries_away ON deliveries (consumer, destination, seq) WHERE state = 'pending' AND is_away = 1;
CREATE INDEX deliveries_parked ON deliveries (consumer, destination, type, attempts, seq) WHERE state = 'parked';
CREATE INDEX deliveries_parked_since ON deliveries (created_uptime_ns) WHERE state = 'parked';
CREATE INDEX deliveries_dead ON deliveries (created_uptime_ns) WHERE state = 'dead';
CREATE INDEX deliveries_states ON deliveries (state, seq);
