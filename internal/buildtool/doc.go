// Package buildtool is the commands that every build finds on its PATH:
// codebuild-hash-files, codebuild-glob-search, codebuild-tests-run,
// codebuild-breakpoint and codebuild-resume.
//
// It runs inside of a sandbox, as the sluice binary under another name. It knows
// nothing of the build but what its environment variables say.
//
// Invariant: the same files give the same answer on every machine.
package buildtool
