-- What projects ('' = the whole server) may use in a month, and which levels of it
-- (percent) were reached and told: each once a month.
CREATE TABLE budgets (
	project {name} NOT NULL PRIMARY KEY,
	record  TEXT NOT NULL
);

CREATE TABLE budget_levels (
	project {name} NOT NULL,
	month   {name} NOT NULL,
	level   BIGINT NOT NULL,
	alert   TEXT NOT NULL,
	PRIMARY KEY (project, month, level)
);
