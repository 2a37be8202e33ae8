// Package depot looks at all that a server keeps as one thing: the database, the
// blobs and the data folder. It checks that they fit together, packs them into one
// file and makes them of such a file.
//
// It owns what is part of a server's state and what can be made again. It does not
// own what the parts look like inside.
//
// Invariant: it changes nothing of a server that runs, but for orphans that it was
// told to remove; and what it makes is there whole or not at all.
package depot

import "github.com/sluice-ci/sluice/internal/ci"

// Place is where a server keeps what it keeps.
type Place struct {
	Data     string   // the data folder
	Database string   // its address, as store.OpenDB takes it
	Blobs    ci.Blobs // of builds
	Folder   string   // where those lie, if that is a folder
}
