CREATE TABLE builds (
	row       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id        TEXT COLLATE "C" NOT NULL UNIQUE,
	project   TEXT COLLATE "C" NOT NULL,
	number    BIGINT NOT NULL,
	status    TEXT NOT NULL CHECK (status IN ('queued', 'running', 'waiting', 'succeeded', 'unstable',
	              'failed', 'errored', 'timed_out', 'canceled', 'skipped')),
	queued    BIGINT NOT NULL,
	started   BIGINT NOT NULL,
	ended     BIGINT NOT NULL,
	ref       TEXT COLLATE "C" NOT NULL,
	commit_id TEXT COLLATE "C" NOT NULL,
	initiator TEXT COLLATE "C" NOT NULL,
	key       TEXT COLLATE "C" NOT NULL,
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

CREATE TABLE events (
	id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	build  TEXT COLLATE "C" NOT NULL REFERENCES builds (id),
	seq    BIGINT NOT NULL,
	time   BIGINT NOT NULL,
	type   TEXT NOT NULL,
	job    TEXT NOT NULL,
	step   TEXT NOT NULL,
	status TEXT NOT NULL,
	data   TEXT NOT NULL
);
CREATE UNIQUE INDEX events_build ON events (build, seq);

CREATE TABLE counters (
	project TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	last    BIGINT NOT NULL,
	deleted BIGINT NOT NULL
);

CREATE TABLE writers (
	id     TEXT NOT NULL PRIMARY KEY,
	last   BIGINT NOT NULL,
	opened BIGINT NOT NULL
);

CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied BIGINT NOT NULL);
INSERT INTO schema_version VALUES (1, 'builds', 1795000000000000000);
INSERT INTO builds (id, project, number, status, queued, started, ended, ref, commit_id, initiator, key, record) VALUES
	('01m82abcdefghjkmnpqr', 'shop', 41, 'running', 1795000000000000000, 1795000001000000000, 0, 'refs/heads/main', '0123abcd', 'ann', 'push-1',
	 '{"id":"01m82abcdefghjkmnpqr","number":41,"project":"shop","source":{"type":"git","location":"https://example.com/shop.git","version":"main"},"commit":{"hash":"0123abcd","ref":"refs/heads/main"},"initiator":"ann","file":"buildspec.yml","status":"running","queued":"2026-11-18T11:06:40Z","started":"2026-11-18T11:06:41Z","jobs":null,"meteredSeconds":0}');
INSERT INTO events (build, seq, time, type, job, step, status, data) VALUES
	('01m82abcdefghjkmnpqr', 1, 1795000000000000000, 'build_queued', '', '', 'queued',
	 '{"id":"01m82abcdefghjkmnpqr","number":41,"project":"shop","source":{"type":"git","location":"https://example.com/shop.git","version":"main"},"initiator":"ann","file":"","status":"queued","queued":"2026-11-18T11:06:40Z","jobs":null,"meteredSeconds":0}'),
	('01m82abcdefghjkmnpqr', 2, 1795000001000000000, 'build_started', '', '', 'running',
	 '{"id":"01m82abcdefghjkmnpqr","number":41,"project":"shop","source":{"type":"git","location":"https://example.com/shop.git","version":"main"},"commit":{"hash":"0123abcd","ref":"refs/heads/main"},"initiator":"ann","file":"buildspec.yml","status":"running","queued":"2026-11-18T11:06:40Z","started":"2026-11-18T11:06:41Z","jobs":null,"meteredSeconds":0}');
INSERT INTO counters VALUES ('shop', 41, 0);
