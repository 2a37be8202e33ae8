// Package image knows the prepackaged build environments: what there is, how it
// is built, which of CodeBuild's image names stands for which, and how big a
// machine its compute types are.
//
// It does not talk to a container engine itself; it is given one (Engine). The
// definitions are data in the package environments.
//
// Invariant: an environment is built from its definition and from packages of
// Debian, so that it can be built wherever Debian's archive can be reached.
package image
