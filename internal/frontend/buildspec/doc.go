// Package buildspec compiles AWS CodeBuild's buildspec.yml, versions 0.2 and
// 0.1 with batch builds, into a ci.Plan.
//
// It owns the reading of the text: the YAML dialect that real files use, what
// each key means, and what an author is told when something is wrong. It does
// not own what a plan does when it runs, nor any file access of its own: child
// buildspecs come through Definition.Read.
//
// Invariant: compiling is pure. The same Definition gives the same plan or the
// same problems, in the order of the text, and all of them at once.
package buildspec
