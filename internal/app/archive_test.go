package app

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sluice-ci/sluice/internal/blob"
)

// TestBlobSeeker reads a blob from here and there, as those do who ask for ranges.
func TestBlobSeeker(t *testing.T) {
	t.Parallel()
	blobs, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	if _, err := blobs.Put(t.Context(), "a/b", bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	s := &blobSeeker{ctx: t.Context(), blobs: blobs, key: "a/b", size: int64(len(text))}
	defer s.Close()
	if err := iotest.TestReader(s, text); err != nil {
		t.Error(err)
	}
	if _, err := s.Seek(-1, io.SeekStart); err == nil {
		t.Error("a byte before the first was found")
	}
}

func TestSafeName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"build/dist/a b.txt": "build/dist/a b.txt", "build/../../etc/passwd": "build/_../_../etc/passwd", "/etc/passwd": "_/etc/passwd",
		`build/..\..\x`: "build/..%5C..%5Cx", "build/C:x": "build/C%3Ax", "build/a\nb\x00": "build/a%0Ab%00", "build//x": "build/_/x", "100%": "100%25", "b\xff": "b_",
	} {
		if got := safeName(name); got != want || strings.Contains(got, "/../") {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
