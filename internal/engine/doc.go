// Package engine decides: which builds there are, what of them is ready, what a
// failure means for the rest, when a build is done.
//
// It is the only writer of the state of builds, jobs and steps. It does not run
// anything (runner does) and does not know where its records are kept (a Store
// does).
//
// Invariant: what it knows is what is stored. Every change is stored first, so
// that a process killed anywhere and started again goes on as if nothing had been.
package engine
