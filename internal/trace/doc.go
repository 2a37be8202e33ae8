// Package trace tells a collector of OpenTelemetry what builds did: a build is a
// trace, each job and step of it a span.
//
// It does not measure: spans are made from what is stored of a build. Therefore
// they are whole however often the server was restarted meanwhile.
//
// Invariant: the IDs of a trace and its spans follow from those of the build, so
// a build that is told twice is one trace, and commands can be told their trace
// before it exists.
package trace
