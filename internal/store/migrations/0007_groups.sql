-- Groups of users. Who is in one stands in the record of the user.
CREATE TABLE user_groups (
	name     {name} NOT NULL PRIMARY KEY,
	revision BIGINT NOT NULL,
	created  BIGINT NOT NULL,
	record   TEXT NOT NULL
);
