// Package environments holds the definitions of the prepackaged build
// environments: per environment a folder with a Dockerfile, the list of its
// packages, its runtimes.yml and a line about it, and what puts packages into a
// Debian image, which all share.
//
// It is data, in the binary so that `sluice env build` needs no download. It does
// not build anything.
//
// Invariant: every folder but debian is a complete environment.
package environments

import "embed"

// Files has debian/ and one folder per environment.
//
//go:embed debian minimal standard
var Files embed.FS
