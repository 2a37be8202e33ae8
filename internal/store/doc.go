// Package store keeps builds: every transition of a build, and by replaying
// them the build itself. A Journal keeps them in files, for `sluice run`; a DB in
// SQLite or PostgreSQL, for `sluice serve`, with what a server keeps besides:
// projects, users, tokens, and which process has which job.
//
// It owns the bytes on disk and the SQL. It does not decide anything: which
// transitions exist is ci's, which one is next is engine's, who may do what is
// not asked here.
//
// Invariant: a transition is either stored whole or not at all, what was stored
// is never changed, and nobody is told otherwise than it is.
package store
