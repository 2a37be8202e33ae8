// Package fileset chooses files by globs in CodeBuild's grammar, packs them into
// reproducible tars, and unpacks tars that nobody vouches for.
//
// It does not know where archives go (blobs, caches, artifacts); those who keep
// them bring the stream.
//
// Invariant: nothing outside the directory it was given is read or written, no
// matter what names and links the files or the archive hold.
package fileset
