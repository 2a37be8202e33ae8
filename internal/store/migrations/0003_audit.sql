-- Who did what. Entries are added and, when they are old, removed; never changed.
CREATE TABLE audit (
	id      {serial},
	time    BIGINT NOT NULL,
	actor   {name} NOT NULL,
	verb    {name} NOT NULL,
	project {name} NOT NULL,
	record  TEXT NOT NULL
);
CREATE INDEX audit_time ON audit (time, id);
CREATE INDEX audit_actor ON audit (actor, time, id);
CREATE INDEX audit_verb ON audit (verb, time, id);
CREATE INDEX audit_project ON audit (project, time, id);
