-- A connection may have more than one archive in a recording: a fault ends one, and another follows.
CREATE TABLE numbered_archives (
  recording_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  start_wall_ns INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (recording_id, connection_id, number)
) STRICT, WITHOUT ROWID;
INSERT INTO numbered_archives SELECT recording_id, connection_id, 1, start_wall_ns, body FROM archives;
DROP TABLE archives;
ALTER TABLE numbered_archives RENAME TO archives;
