// Package ci holds the nouns of Sluice, their state machine, and the seams
// between the parts that decide, the parts that do and the parts that keep.
//
// It owns the meaning of a build: what a plan is, which statuses exist and which
// may follow which, how things are named. It does not own how any of it is
// stored, run or shown. Everything else imports it.
//
// Invariant: it imports the standard library and nothing else.
package ci
