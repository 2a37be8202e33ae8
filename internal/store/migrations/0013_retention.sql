-- What lies outside the database of builds that were deleted, or of which a part
-- was: what is 'build', 'artifacts' or 'logs'. Written with the deletion, removed
-- once it is gone, so that a killed server leaves nothing behind for ever.
CREATE TABLE discards (
	build {name} NOT NULL,
	what  {name} NOT NULL,
	PRIMARY KEY (build, what)
);

-- Which parts of builds that are still there were removed, and when.
CREATE TABLE expired (
	build {name} NOT NULL,
	what  {name} NOT NULL,
	time  BIGINT NOT NULL,
	PRIMARY KEY (build, what)
);
