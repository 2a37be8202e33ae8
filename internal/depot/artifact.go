package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// folderFormat is of artifacts that are several files.
const folderFormat = "folder"

// artifact reads an artifact and compares it with its record.
func (c *checker) artifact(ctx context.Context, b *ci.Build, job ci.JobID, a ci.Artifact) error {
	problem := Problem{Kind: Artifact, Build: b.ID, Key: a.Blob}
	var sum string
	var size int64
	var err error
	switch {
	case a.Blob == "":
		problem.Path = filepath.Join(c.p.Data, "builds", string(b.ID), job.Name(), filepath.FromSlash(a.Path))
		sum, size, err = c.files(problem.Path, a)
	case a.Format == folderFormat:
		sum, size, err = c.folder(ctx, a)
	default:
		c.wanted[a.Blob] = true
		sum, size, err = c.blob(ctx, a.Blob)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ci.ErrUnavailable):
		return err // the store cannot be asked, which says nothing about what is in it
	case errors.Is(err, ci.ErrNotFound), errors.Is(err, os.ErrNotExist):
		c.wrong(problem, "artifact %s of job %s is missing", a.Name, job.Name())
	case err != nil:
		c.wrong(problem, "artifact %s of job %s: %s", a.Name, job.Name(), ci.Message(err))
	case size != a.Size || a.SHA256 != "" && sum != a.SHA256:
		c.wrong(problem, "artifact %s of job %s is not what the build made: it has %d bytes with SHA-256 %.12s..., want %d with %.12s...", a.Name, job.Name(), size, sum, a.Size, a.SHA256)
	}
	return nil
}

// blob reads one to its end, which verifies it.
func (c *checker) blob(ctx context.Context, key string) (sum string, size int64, err error) {
	r, blob, err := c.p.Blobs.Open(ctx, key, 0)
	if err != nil {
		return "", 0, err
	}
	n, err := io.Copy(io.Discard, r)
	_ = r.Close()
	c.Bytes += n
	return blob.SHA256, blob.Size, err
}

// folderSum is the sum of a folder: of its sorted "sha256  path" lines.
type folderSum struct {
	lines []string
	size  int64
}

func (f *folderSum) add(path, sum string, size int64) {
	f.lines = append(f.lines, path+"\x00"+sum)
	f.size += size
}

func (f *folderSum) text() string {
	slices.Sort(f.lines)
	h := sha256.New()
	for _, line := range f.lines {
		path, sum, _ := strings.Cut(line, "\x00")
		fmt.Fprintf(h, "%s  %s\n", sum, path)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (c *checker) folder(ctx context.Context, a ci.Artifact) (string, int64, error) {
	var keys []string
	err := c.p.Blobs.List(ctx, a.Blob+"/", func(b ci.Blob) error {
		keys = append(keys, b.Key)
		return nil
	})
	var all folderSum
	for _, key := range keys {
		if err != nil {
			break
		}
		c.wanted[key] = true
		var sum string
		var size int64
		if sum, size, err = c.blob(ctx, key); err == nil {
			all.add(ci.BlobPath(strings.TrimPrefix(key, a.Blob+"/")), sum, size)
		}
	}
	if err == nil && len(keys) != a.Files {
		err = fmt.Errorf("it has %d files, want %d", len(keys), a.Files)
	}
	return all.text(), all.size, err
}

// files reads an artifact that is in the data folder, as it was before there were blobs.
func (c *checker) files(path string, a ci.Artifact) (string, int64, error) {
	if a.Format != folderFormat {
		return c.file(path)
	}
	var all folderSum
	err := filepath.WalkDir(path, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		sum, size, err := c.file(name)
		all.add(filepath.ToSlash(rel), sum, size)
		return err
	})
	return all.text(), all.size, err
}

func (c *checker) file(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	c.Bytes += size
	return text(h), size, err
}

func text(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
