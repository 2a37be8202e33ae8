-- The servers that share this database. Each has builds in hand until it is
-- through with them, or has not been heard of for so long that others take them.
CREATE TABLE nodes (
	name  {name} NOT NULL PRIMARY KEY,
	url   TEXT NOT NULL,
	beat  BIGINT NOT NULL,
	until BIGINT NOT NULL
);
ALTER TABLE builds ADD COLUMN node {name} NOT NULL DEFAULT '';
CREATE INDEX builds_node ON builds (node, queued, row) WHERE status IN ('queued', 'running', 'waiting');

-- Builds that are to stop, asked of a server that does not have them in hand.
CREATE TABLE wishes (
	build {name} NOT NULL PRIMARY KEY,
	cause TEXT NOT NULL
);
