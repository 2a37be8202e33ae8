-- Which build needs which upload: an upload that none needs is removed.
CREATE TABLE upload_uses (
	build  {name} NOT NULL PRIMARY KEY,
	upload {name} NOT NULL
);
CREATE INDEX upload_uses_upload ON upload_uses (upload);

-- Which project is built after which: written with the project.
CREATE TABLE upstreams (
	project  {name} NOT NULL,
	upstream {name} NOT NULL,
	PRIMARY KEY (project, upstream)
);
CREATE INDEX upstreams_upstream ON upstreams (upstream, project);

-- What has come of a build and is still to be done: another attempt, a build of
-- the project that is named, an end to older builds. Written in the transaction
-- in which it came of the build, and removed once it is done.
CREATE TABLE sequels (
	id      {serial},
	build   {name} NOT NULL,
	kind    TEXT NOT NULL CHECK (kind IN ('retry', 'after', 'supersede')),
	project {name} NOT NULL
);
CREATE INDEX sequels_build ON sequels (build);
