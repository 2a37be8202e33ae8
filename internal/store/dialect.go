package store

import (
	"context"
	"database/sql"
	"strings"
)

// dialect is what differs between the two databases. All other SQL is written
// once, in what both understand.
type dialect interface {
	// open makes the pool of readers, and a pool from which the writer takes its one connection.
	open(ctx context.Context) (readers, writer *sql.DB, err error)
	types() *strings.Replacer // of column types in migrations
	begin() string            // starts a transaction that no other writer's can overlap
	mark() string             // the last statement of a transaction: notes $1 = writer, $2 = its number; "" = none needed
	clock() string            // an expression: nanoseconds since 1970 by the database's clock; "0" = this process' is as good
	// prepares says whether statements must be kept prepared to be fast.
	prepares() bool
	kind(err error) errorKind
	// lost says whether the connection is of no more use.
	lost(c *sql.Conn, err error) bool
	// listen calls wake at each commit of any process until ctx ends; ready is
	// closed once it hears. A database of one process only returns at once.
	listen(ctx context.Context, ready chan<- struct{}, wake func())
	close() error
	tables
}

// errorKind is what an error of the database means for what was attempted.
type errorKind int

const (
	errorOther errorKind = iota
	errorRetry           // it would succeed when tried again: a deadlock
	errorTwice           // a unique column has that value already, or a row that is referred to is missing
	errorFull            // no room on the disk
	errorGone            // the database cannot be asked now
)
