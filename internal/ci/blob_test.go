package ci_test

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func FuzzBlobName(f *testing.F) {
	f.Add("dist/app")
	f.Add("a\\b%41\n")
	f.Fuzz(func(t *testing.T, path string) {
		if got := ci.BlobPath(ci.BlobName(path)); got != path {
			t.Errorf("%q comes back as %q", path, got)
		}
	})
}
