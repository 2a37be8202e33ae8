-- Builds and what happened to them. {serial} and {name} differ between
-- SQLite and PostgreSQL (dialect.go); times are nanoseconds since 1970, 0 = none.
CREATE TABLE builds (
	row       {serial},
	id        {name} NOT NULL UNIQUE,
	project   {name} NOT NULL,
	number    BIGINT NOT NULL,
	status    TEXT NOT NULL CHECK (status IN ('queued', 'running', 'waiting', 'succeeded', 'unstable',
	              'failed', 'errored', 'timed_out', 'canceled', 'skipped')),
	queued    BIGINT NOT NULL,
	started   BIGINT NOT NULL,
	ended     BIGINT NOT NULL,
	ref       {name} NOT NULL,
	commit_id {name} NOT NULL,
	initiator {name} NOT NULL,
	key       {name} NOT NULL,
	record    TEXT NOT NULL
);
CREATE UNIQUE INDEX builds_number ON builds (project, number) WHERE number > 0;
CREATE UNIQUE INDEX builds_key ON builds (project, key) WHERE key <> '';
CREATE INDEX builds_time ON builds (queued, row);
CREATE INDEX builds_project ON builds (project, queued, row);
CREATE INDEX builds_status ON builds (status, queued, row);
CREATE INDEX builds_project_status ON builds (project, status, queued, row);
CREATE INDEX builds_ref ON builds (project, ref, queued, row);
CREATE INDEX builds_commit ON builds (commit_id, queued, row);
CREATE INDEX builds_initiator ON builds (initiator, queued, row);

-- id is the cursor of readers: it grows in the order of commits (writer.go).
CREATE TABLE events (
	id     {serial},
	build  {name} NOT NULL REFERENCES builds (id),
	seq    BIGINT NOT NULL,
	time   BIGINT NOT NULL,
	type   TEXT NOT NULL,
	job    TEXT NOT NULL,
	step   TEXT NOT NULL,
	status TEXT NOT NULL,
	data   TEXT NOT NULL
);
CREATE UNIQUE INDEX events_build ON events (build, seq);

-- The last number given in each project. A number is never given twice, so the
-- row outlives its project; deleted then refuses builds that come too late.
CREATE TABLE counters (
	project {name} NOT NULL PRIMARY KEY,
	last    BIGINT NOT NULL,
	deleted BIGINT NOT NULL
);

-- The last transaction of each process that writes: tells one whose connection
-- was lost while it committed whether it did.
CREATE TABLE writers (
	id     TEXT NOT NULL PRIMARY KEY,
	last   BIGINT NOT NULL,
	opened BIGINT NOT NULL
);
