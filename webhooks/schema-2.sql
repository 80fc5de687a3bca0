-- Whether the consumer was not there at the last attempt: it is tried again as soon as it takes something.
ALTER TABLE outbox ADD COLUMN is_away INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outbox_away ON outbox (seq) WHERE state = 'pending' AND is_away = 1;

-- Dead entries go by their age and number; how many went.
CREATE INDEX outbox_dead ON outbox (created_wall_ns) WHERE state = 'dead';
ALTER TABLE outbox_cursor ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
