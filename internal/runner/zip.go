package runner

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"context"
	"crypto/md5" //nolint:gosec // CodeBuild's md5sum is part of the record; nothing is secured by it
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/flate"

	"github.com/sluice-ci/sluice/internal/ci"
)

// packZip writes the chosen files as a ZIP to name. The same files give the same
// bytes: sorted, without owners, times cut to what ZIP can say and never of now.
func (j *job) packZip(ctx context.Context, a *ci.Artifact, set ci.FileSet, flatten bool, name string) (ci.Matched, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return ci.Matched{}, fmt.Errorf("make artifact: %w", err)
	}
	defer f.Close()
	sums := &zipSums{sha: sha256.New(), md5: md5.New()} //nolint:gosec // see above
	buffered := bufio.NewWriterSize(io.MultiWriter(f, sums), 256<<10)
	zw := zip.NewWriter(buffered)
	zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 6) })
	seen := map[string]bool{}
	matched, err := j.take(ctx, set, func(tr *tar.Reader) error {
		return entries(tr, selection{flatten: flatten}, func(h *tar.Header, r io.Reader) error {
			if seen[h.Name] {
				return nil // with discard-paths: a ZIP must not name a file twice
			}
			seen[h.Name] = true
			return zipEntry(zw, h, r)
		})
	})
	if err != nil {
		return matched, err
	}
	if err := zw.Close(); err != nil {
		return matched, fmt.Errorf("write artifact: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return matched, fmt.Errorf("write artifact: %w", err)
	}
	a.Files, a.Size = len(seen), sums.n
	a.SHA256 = hex.EncodeToString(sums.sha.Sum(nil))
	a.MD5 = hex.EncodeToString(sums.md5.Sum(nil))
	return matched, f.Close()
}

// zipEpoch is the earliest time that ZIP can say; every entry gets it, because
// the times of freshly built files differ from build to build.
var zipEpoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func zipEntry(zw *zip.Writer, h *tar.Header, r io.Reader) error {
	header := &zip.FileHeader{Name: h.Name, Method: zip.Deflate, Modified: zipEpoch}
	mode := os.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	if h.Typeflag == tar.TypeSymlink {
		header.Method, mode = zip.Store, os.ModeSymlink|0o777
	}
	header.SetMode(mode)
	w, err := zw.CreateHeader(header)
	if err != nil {
		return fmt.Errorf("write %s: %w", h.Name, err)
	}
	if h.Typeflag == tar.TypeSymlink {
		_, err = io.WriteString(w, h.Linkname)
	} else {
		_, err = io.Copy(w, r)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", h.Name, err)
	}
	return nil
}

// zipSums counts and sums the bytes of a file as it is written.
type zipSums struct {
	sha, md5 hash.Hash
	n        int64
}

func (s *zipSums) Write(p []byte) (int, error) {
	_, _ = s.sha.Write(p) // hashes never fail
	_, _ = s.md5.Write(p)
	s.n += int64(len(p))
	return len(p), nil
}
