// Package report reads what test and coverage tools write into ci.Report.
//
// It owns the formats, the limits of a report and how reports of several files
// and jobs become one. It does not own how the files leave a sandbox, nor what a
// failed report means for a build.
//
// Invariant: whatever a file holds, reading it takes one pass and bounded memory,
// and what could not be read is said in Problems and never a fault.
package report
