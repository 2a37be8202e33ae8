-- How far programs of our own have read events that tell others of them.
CREATE TABLE readers (
	name {name} NOT NULL PRIMARY KEY,
	seen BIGINT NOT NULL
);
