-- What it takes to log in.
ALTER TABLE users ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;

-- Failed attempts, by what is limited: a user, an address.
CREATE TABLE attempts (
	what     {name} NOT NULL PRIMARY KEY,
	failures BIGINT NOT NULL,
	last     BIGINT NOT NULL
);

-- Codes that are good once: links that set a password, logins under way.
CREATE TABLE codes (
	hash    {name} NOT NULL PRIMARY KEY,
	kind    TEXT NOT NULL,
	owner   {name} NOT NULL,
	expires BIGINT NOT NULL,
	data    TEXT NOT NULL
);
CREATE INDEX codes_expires ON codes (expires);
