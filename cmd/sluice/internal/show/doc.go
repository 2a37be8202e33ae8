// Package show puts a build before the eyes of whoever waits for it: as plain
// text, on a terminal, or as JSON events.
//
// It owns the order in which events and output are shown, and how they look. It
// does not decide anything about the build and keeps nothing.
//
// Invariant: what a step printed is shown after the step's start and before its
// end, whole and once, and output that is not a terminal's gets no control
// characters that the build itself did not print.
package show
