-- Reports in numbers, a row for each; they outlive their builds.
CREATE TABLE report_runs (
	id               {serial},
	project          {name} NOT NULL,
	number           BIGINT NOT NULL,
	job              TEXT NOT NULL,
	ref              {name} NOT NULL,
	commit_id        {name} NOT NULL,
	time             BIGINT NOT NULL,
	grp              {name} NOT NULL,
	type             {name} NOT NULL,
	status           TEXT NOT NULL,
	total            BIGINT NOT NULL,
	succeeded        BIGINT NOT NULL,
	failed           BIGINT NOT NULL,
	error            BIGINT NOT NULL,
	skipped          BIGINT NOT NULL,
	unknown          BIGINT NOT NULL,
	duration         BIGINT NOT NULL,
	lines_covered    BIGINT NOT NULL,
	lines_missed     BIGINT NOT NULL,
	branches_covered BIGINT NOT NULL,
	branches_missed  BIGINT NOT NULL
);
CREATE INDEX report_runs_project ON report_runs (project, type, id);

-- What is known of each test: one row, however often it ran. recent holds its
-- last runs (ci.PackResults).
CREATE TABLE tests (
	project  {name} NOT NULL,
	grp      {name} NOT NULL,
	name     {name} NOT NULL,
	status   TEXT NOT NULL,
	mean     BIGINT NOT NULL,
	runs     BIGINT NOT NULL,
	failed   BIGINT NOT NULL,
	flaky    BIGINT NOT NULL,
	flaky_at BIGINT NOT NULL,
	since    BIGINT NOT NULL,
	seen     BIGINT NOT NULL,
	recent   TEXT NOT NULL,
	PRIMARY KEY (project, grp, name)
);
CREATE INDEX tests_seen ON tests (seen);
