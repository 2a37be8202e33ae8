package app

import (
	"archive/tar"
	"archive/zip"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// blobSeeker reads a blob from any byte, so that a broken download goes on where
// it broke.
type blobSeeker struct {
	ctx   context.Context // of the one request that it serves
	blobs ci.Blobs
	key   string
	size  int64
	at    int64         // of the next byte
	r     io.ReadCloser // stands at byte from; nil = none
	from  int64
}

func (s *blobSeeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return s.at, fmt.Errorf("byte %d: bytes count from 0: %w", offset, ci.ErrInvalid)
	}
	s.at = offset
	return offset, nil
}

func (s *blobSeeker) Read(p []byte) (int, error) {
	if s.at >= s.size {
		// The reader checks the sum at its end, which it must therefore see.
		if s.r != nil && s.from == s.at {
			return s.r.Read(p)
		}
		return 0, io.EOF
	}
	if s.r == nil || s.from != s.at {
		if err := s.Close(); err != nil {
			return 0, err
		}
		r, _, err := s.blobs.Open(s.ctx, s.key, s.at)
		if err != nil {
			return 0, err
		}
		s.r, s.from = r, s.at
	}
	n, err := s.r.Read(p)
	s.at += int64(n)
	s.from = s.at
	return n, err
}

func (s *blobSeeker) Close() error {
	if s.r == nil {
		return nil
	}
	r := s.r
	s.r = nil
	return r.Close()
}

// Archive is all artifacts of a build in one file, to be written as it is made.
type Archive struct {
	Name  string // of the file
	Write func(ctx context.Context, w io.Writer) error
}

// Archive makes one file of all artifacts of a build, those of each job in a
// folder of its name: zip or tar. A build without artifacts is ci.ErrNotFound.
func (a *App) Archive(ctx context.Context, project string, number int64, format string) (*Archive, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return nil, err
	}
	packed, err := archiver(format)
	if err == nil {
		err = a.removed(ctx, b.ID, ci.PartArtifacts, project, number)
	}
	if err != nil {
		return nil, err
	}
	found := false
	for _, j := range b.Jobs {
		found = found || len(j.Artifacts) > 0
	}
	if !found {
		return nil, fmt.Errorf("artifacts of build %s/%d: %w: it has none", project, number, ci.ErrNotFound)
	}
	write := func(ctx context.Context, w io.Writer) error {
		out := packed(w)
		for _, j := range b.Jobs {
			for _, art := range j.Artifacts {
				if err := a.pack(ctx, out, j.ID, art); err != nil {
					return fmt.Errorf("artifact %s of build %s/%d: %w", art.Name, project, number, err)
				}
			}
		}
		return out.Close()
	}
	return &Archive{Name: fmt.Sprintf("%s-%d.%s", project, number, format), Write: write}, nil
}

// pack adds one artifact.
func (a *App) pack(ctx context.Context, out archive, job ci.JobID, art ci.Artifact) error {
	add := func(inside string) error {
		f, err := a.open(ctx, job, art, inside)
		if err != nil {
			return err
		}
		defer f.Close()
		w, err := out.add(safeName(openPath(job, art)+inside), f.Size, f.Time, art.Format == "zip")
		if err != nil {
			return err
		}
		n, err := io.Copy(w, f)
		if err == nil && n != f.Size {
			err = fmt.Errorf("%d bytes came of %d", n, f.Size)
		}
		return err
	}
	if art.Format != "folder" {
		return add("")
	}
	return a.eachEntry(ctx, job, art, func(e Entry) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		return add("/" + e.Path)
	})
}

// safeName is a name that unpacks to where it says on every system: no part of it
// leads anywhere, and what other systems take for a separator, a drive or a
// control character is written as %XX.
func safeName(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		var b strings.Builder
		for k := range len(part) {
			switch c := part[k]; {
			case c < ' ' || c == 0x7f || strings.IndexByte(`\\:%`, c) >= 0:
				fmt.Fprintf(&b, "%%%02X", c)
			default:
				b.WriteByte(c)
			}
		}
		parts[i] = b.String()
		if part == "" || part == "." || part == ".." {
			parts[i] = "_" + part
		}
	}
	return strings.ToValidUTF8(strings.Join(parts, "/"), "_")
}

// archive is a file of files that is being written.
type archive interface {
	// add begins a file; its bytes are then written to the answer. still: it is packed already.
	add(name string, size int64, changed time.Time, still bool) (io.Writer, error)
	Close() error
}

func archiver(format string) (func(io.Writer) archive, error) {
	switch format {
	case "zip":
		return func(w io.Writer) archive { return zipArchive{zip.NewWriter(w)} }, nil
	case "tar":
		return func(w io.Writer) archive { return tarArchive{tar.NewWriter(w)} }, nil
	}
	return nil, &Invalid{Query: true, Fields: []Field{{"format", fmt.Sprintf("%.20q is not one: want zip or tar", format)}}}
}

type zipArchive struct{ *zip.Writer }

func (z zipArchive) add(name string, _ int64, changed time.Time, still bool) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Modified: changed, Method: zip.Deflate}
	if still {
		h.Method = zip.Store
	}
	h.SetMode(0o644)
	return z.CreateHeader(h)
}

type tarArchive struct{ *tar.Writer }

func (t tarArchive) add(name string, size int64, changed time.Time, _ bool) (io.Writer, error) {
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: changed, Format: tar.FormatPAX})
	return t.Writer, err
}
