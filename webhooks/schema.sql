-- How far the store's log of events has been taken over.
CREATE TABLE outbox_cursor (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  cursor INTEGER NOT NULL
) STRICT;

INSERT INTO outbox_cursor VALUES (1, 0);

-- state: pending | delivered | dead | unsent (there was no URL to send it to)
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  channel_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  body BLOB NOT NULL,
  created_wall_ns INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_wall_ns INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT ''
) STRICT;

-- The head of a channel is its first pending entry: nothing overtakes it.
CREATE INDEX outbox_heads ON outbox (channel_id, seq) WHERE state = 'pending';
CREATE INDEX outbox_states ON outbox (state, seq);
