package fileset

import (
	"context"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Pack is in work.
func Pack(ctx context.Context, set ci.FileSet, w io.Writer) (ci.Matched, error) { panic("") }
