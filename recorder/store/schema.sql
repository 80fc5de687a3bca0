CREATE TABLE recordings (
  recording_id TEXT PRIMARY KEY,
  channel_id TEXT NOT NULL,
  status TEXT NOT NULL,
  start_wall_ns INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One recording of a channel at a time: this decides the race of two starts.
CREATE UNIQUE INDEX one_active_recording ON recordings (channel_id) WHERE status = 'active';
CREATE INDEX unfinished_recordings ON recordings (start_wall_ns) WHERE status <> 'finished';

CREATE TABLE archives (
  recording_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  start_wall_ns INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (recording_id, connection_id)
) STRICT, WITHOUT ROWID;

-- Events until their reader has taken them over.
CREATE TABLE events (
  cursor INTEGER PRIMARY KEY AUTOINCREMENT,
  body BLOB NOT NULL
) STRICT;

-- Every event that ever was, so that none is said twice.
CREATE TABLE event_ids (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
