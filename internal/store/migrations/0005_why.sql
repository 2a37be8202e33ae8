-- Why an event came about: a ci.Decision as JSON, '' where nothing had to be decided.
ALTER TABLE events ADD COLUMN why TEXT NOT NULL DEFAULT '';
