package fileset

import (
	"context"
	"io"
)

// Limits bound what Unpack writes; zero values mean none.
type Limits struct {
	Bytes int64 // of all files together
	Files int   // entries of any kind
}

// Unpack is in work.
func Unpack(ctx context.Context, dir string, r io.Reader, l Limits) error { panic("") }
