// Package runner does: it takes one job at a time from a desk and carries it
// through its phases, from the sandbox to the artifacts. The same code runs in
// `sluice run` and beside a server.
//
// It owns the order of the phases and what a failure in one means for the next
// (docs/buildspec.md, "Phases"). It does not decide which job runs, and keeps
// no state: what is done already comes with the assignment, and every effect is
// find-or-do under the step's ID.
//
// Invariant: running a job again from the top, over the record of what it did,
// gives the same result as never having stopped.
package runner
