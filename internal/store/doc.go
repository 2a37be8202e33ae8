// Package store keeps builds: every transition of a build, and by replaying
// them the build itself.
//
// It owns the bytes on disk. It does not decide anything: which transitions
// exist is ci's, which one is next is engine's.
//
// Invariant: a transition is either stored whole or not at all, and what was
// stored is never changed.
package store
