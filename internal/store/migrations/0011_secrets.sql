-- Secrets of projects ('' = global; '#…' = the server's own), sealed; base64.
CREATE TABLE secrets (
	id          {name} NOT NULL PRIMARY KEY,
	project     {name} NOT NULL,
	name        {name} NOT NULL,
	description TEXT NOT NULL,
	last        BIGINT NOT NULL,
	created     BIGINT NOT NULL,
	updated     BIGINT NOT NULL,
	UNIQUE (project, name)
);

CREATE TABLE secret_versions (
	secret  {name} NOT NULL REFERENCES secrets (id),
	number  BIGINT NOT NULL,
	key_id  {name} NOT NULL,
	maker   TEXT NOT NULL,
	created BIGINT NOT NULL,
	sealed  TEXT NOT NULL,
	PRIMARY KEY (secret, number)
);
CREATE INDEX secret_versions_key ON secret_versions (key_id, secret, number);

-- Which projects may use a global secret; '*' = all.
CREATE TABLE secret_grants (
	secret  {name} NOT NULL REFERENCES secrets (id),
	project {name} NOT NULL,
	PRIMARY KEY (secret, project)
);

-- Master keys by what is made from them; the last row's is the one to seal with.
CREATE TABLE secret_keys (
	row     {serial},
	id      {name} NOT NULL UNIQUE,
	created BIGINT NOT NULL
);

-- What each build was given: it gets the same version again after a restart.
CREATE TABLE secret_uses (
	build   {name} NOT NULL,
	source  {name} NOT NULL,
	ref     {name} NOT NULL,
	secret  {name} NOT NULL,
	version BIGINT NOT NULL,
	used    BIGINT NOT NULL,
	PRIMARY KEY (build, source, ref)
);
CREATE INDEX secret_uses_secret ON secret_uses (secret, used);
