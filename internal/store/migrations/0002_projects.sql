-- What people set up, and which process has which job.
CREATE TABLE projects (
	name     {name} NOT NULL PRIMARY KEY,
	revision BIGINT NOT NULL,
	created  BIGINT NOT NULL,
	updated  BIGINT NOT NULL,
	record   TEXT NOT NULL
);

CREATE TABLE users (
	name     {name} NOT NULL PRIMARY KEY,
	role     TEXT NOT NULL,
	password TEXT NOT NULL,
	created  BIGINT NOT NULL,
	record   TEXT NOT NULL
);

CREATE TABLE tokens (
	id        {name} NOT NULL PRIMARY KEY,
	owner     {name} NOT NULL REFERENCES users (name),
	hash      {name} NOT NULL UNIQUE,
	created   BIGINT NOT NULL,
	expires   BIGINT NOT NULL,
	last_used BIGINT NOT NULL,
	record    TEXT NOT NULL
);
CREATE INDEX tokens_owner ON tokens (owner, id);

CREATE TABLE leases (
	job   {name} NOT NULL PRIMARY KEY,
	owner TEXT NOT NULL,
	until BIGINT NOT NULL
);
