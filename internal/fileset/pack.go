package fileset

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// bufferSize makes big writes of many small files.
const bufferSize = 256 << 10

// Pack writes the files of the set as a tar, sorted by name. The same files give
// the same bytes, whoever owns them. A file that vanishes or shrinks meanwhile is
// a problem in the answer; the tar is well-formed nevertheless.
//
// Globs that are absolute or begin with "~/" may follow links to anywhere; all
// others stay below set.Dir, or below set.Base where that is outside of it.
func Pack(ctx context.Context, set ci.FileSet, w io.Writer) (ci.Matched, error) {
	s, err := choose(ctx, set)
	if err != nil {
		return ci.Matched{}, fmt.Errorf("choose files: %w", err)
	}
	defer s.close()
	out := bufio.NewWriterSize(w, bufferSize)
	p := &packer{selection: s, tar: tar.NewWriter(out), buf: make([]byte, 64<<10)}
	for _, e := range s.sorted() {
		if err := ctx.Err(); err != nil {
			return s.matched, context.Cause(ctx)
		}
		if err := p.add(e); err != nil {
			return s.matched, fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := errors.Join(p.tar.Close(), out.Flush()); err != nil {
		return s.matched, fmt.Errorf("pack: %w", err)
	}
	return s.matched, nil
}

type packer struct {
	*selection
	tar *tar.Writer
	buf []byte
}

// add writes one entry. Its errors are those of the writer alone.
func (p *packer) add(e entry) error {
	if e.kind&fs.ModeSymlink != 0 {
		p.matched.Files++
		return p.tar.WriteHeader(&tar.Header{
			Format: tar.FormatPAX, Typeflag: tar.TypeSymlink, Name: e.name, Linkname: e.link, Mode: 0o777, ModTime: time.Unix(0, 0),
		})
	}
	f, info, err := e.open()
	if err != nil {
		p.problem("%s: %v", e.name, err)
		return nil
	}
	defer func() { _ = f.Close() }()
	h := &tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: e.name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	if info.IsDir() {
		h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
		return p.tar.WriteHeader(h)
	}
	h.Size = info.Size()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	p.matched.Files++
	p.matched.Bytes += h.Size
	return p.body(e, f, h.Size)
}

// body writes exactly size bytes: of a file that is shorter by now, zeros.
func (p *packer) body(e entry, f io.Reader, size int64) error {
	for left := size; left > 0; {
		n, err := f.Read(p.buf[:min(left, int64(len(p.buf)))])
		if n > 0 {
			if _, err := p.tar.Write(p.buf[:n]); err != nil {
				return err
			}
			left -= int64(n)
			continue
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("it became shorter while it was read")
		}
		p.problem("%s: %v; the rest is zeros", e.name, err)
		clear(p.buf)
		for left > 0 {
			n := min(left, int64(len(p.buf)))
			if _, err := p.tar.Write(p.buf[:n]); err != nil {
				return err
			}
			left -= n
		}
	}
	return nil
}

// open opens a chosen file or directory and makes sure that it still is one.
func (e entry) open() (*os.File, fs.FileInfo, error) {
	f, err := e.tree.open(e.rel)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.New("it vanished or was replaced while files were packed")
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != e.kind {
		err = errors.New("it was replaced while files were packed")
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// List names the files of the set, sorted.
func List(ctx context.Context, set ci.FileSet) ([]string, ci.Matched, error) {
	s, err := choose(ctx, set)
	if err != nil {
		return nil, ci.Matched{}, fmt.Errorf("choose files: %w", err)
	}
	defer s.close()
	var names []string
	for _, e := range s.sorted() {
		if !e.kind.IsDir() {
			names = append(names, e.name)
		}
	}
	s.matched.Files = len(names)
	return names, s.matched, nil
}

// Hash is the SHA-256, in hex, of the contents of the set's files one after the
// other in the order of their names: what `cat FILES | sha256sum` prints. Unlike
// Pack it fails when a file cannot be read, since a key made of the rest would
// be wrong.
func Hash(ctx context.Context, set ci.FileSet) (string, ci.Matched, error) {
	set.Symlinks, set.Dirs = false, false
	s, err := choose(ctx, set)
	if err != nil {
		return "", ci.Matched{}, fmt.Errorf("choose files: %w", err)
	}
	defer s.close()
	h := sha256.New()
	for _, e := range s.sorted() {
		if err := ctx.Err(); err != nil {
			return "", s.matched, context.Cause(ctx)
		}
		f, _, err := e.open()
		if err != nil {
			return "", s.matched, fmt.Errorf("hash %s: %w", e.name, err)
		}
		n, err := io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return "", s.matched, fmt.Errorf("hash %s: %w", e.name, err)
		}
		s.matched.Files++
		s.matched.Bytes += n
	}
	return hex.EncodeToString(h.Sum(nil)), s.matched, nil
}
