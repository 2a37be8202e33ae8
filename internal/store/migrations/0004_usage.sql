-- What jobs were metered with: one row for each that held a sandbox and ended,
-- written with its end. It names its build but does not need it, so usage outlives
-- builds and projects. cost is in millionths of the currency, billed in seconds,
-- day is that of the end in UTC.
CREATE TABLE metered (
	job       {name} NOT NULL PRIMARY KEY,
	build     {name} NOT NULL,
	project   {name} NOT NULL,
	ref       {name} NOT NULL,
	initiator {name} NOT NULL,
	day       {name} NOT NULL,
	executor  {name} NOT NULL,
	type      {name} NOT NULL,
	size      {name} NOT NULL,
	currency  {name} NOT NULL,
	seconds   BIGINT NOT NULL,
	billed    BIGINT NOT NULL,
	cost      BIGINT NOT NULL
);
CREATE INDEX metered_day ON metered (day);
CREATE INDEX metered_project ON metered (project, day);

-- The sums of each month, so that a budget is looked up and not added up.
CREATE TABLE spending (
	month    {name} NOT NULL,
	project  {name} NOT NULL,
	currency {name} NOT NULL,
	billed   BIGINT NOT NULL,
	cost     BIGINT NOT NULL,
	PRIMARY KEY (month, project, currency)
);

-- What is to be made of the rows that were there before, from behind this row on.
-- It is done when the database is opened, a part at a time, and then removed.
CREATE TABLE backfills (
	name  {name} NOT NULL PRIMARY KEY,
	after BIGINT NOT NULL
);
INSERT INTO backfills (name, after) VALUES ('metered', 0);
