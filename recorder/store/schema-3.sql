-- The connection.created of those who are there; whoever is left here by a crash is told as gone at the next start.
CREATE TABLE open_connections (
  connection_id TEXT PRIMARY KEY,
  cursor INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
