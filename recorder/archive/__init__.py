"""From frames to media files, their documents and events; and crash recovery."""
