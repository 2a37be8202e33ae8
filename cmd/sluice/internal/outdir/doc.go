// Package outdir owns the directory that a local build leaves its results in:
// build.json, build.log, artifacts, reports, and the state they are made from.
//
// It does not run the build and does not decide how it ended; it writes down what
// the build's record and the logs of its steps say.
//
// Invariant: build.json and build.log, where they exist, are those of one and
// the same build, and that build is over. They are removed before a new build
// writes anything, and come back whole.
package outdir
