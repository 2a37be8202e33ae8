-- Whom to tell of what happens, and what is on its way to them. seen is the
-- cursor of the last event that was looked at; sealed is the target's secret.
CREATE TABLE targets (
	id      {serial},
	project {name} NOT NULL,
	name    {name} NOT NULL,
	seen    BIGINT NOT NULL,
	sealed  TEXT NOT NULL,
	record  TEXT NOT NULL
);
CREATE UNIQUE INDEX targets_name ON targets (project, name);

CREATE TABLE deliveries (
	id       {serial},
	target   BIGINT NOT NULL REFERENCES targets (id),
	event    BIGINT NOT NULL,
	state    TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
	attempts BIGINT NOT NULL,
	created  BIGINT NOT NULL,
	due      BIGINT NOT NULL,
	ended    BIGINT NOT NULL,
	error    TEXT NOT NULL,
	notice   TEXT NOT NULL
);
CREATE UNIQUE INDEX deliveries_event ON deliveries (target, event);
CREATE INDEX deliveries_list ON deliveries (target, state, id);
CREATE INDEX deliveries_due ON deliveries (target, due, id) WHERE state = 'pending';
CREATE INDEX deliveries_ended ON deliveries (ended) WHERE state <> 'pending';
