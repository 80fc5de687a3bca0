-- An id goes once nothing can say its event again: its recording is finished, and the log is far beyond it.
ALTER TABLE event_ids ADD COLUMN recording_id TEXT NOT NULL DEFAULT '';
ALTER TABLE event_ids ADD COLUMN cursor INTEGER NOT NULL DEFAULT 0;
UPDATE event_ids SET cursor = (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events');
CREATE INDEX event_ids_in_order ON event_ids (cursor);

-- Where the log was when the recording was finished.
ALTER TABLE recordings ADD COLUMN finish_cursor INTEGER NOT NULL DEFAULT 0;
CREATE INDEX finished_recordings ON recordings (finish_cursor) WHERE status = 'finished';
