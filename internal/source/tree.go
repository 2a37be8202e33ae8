package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sys/unix"
)

// smallFile is the size up to which a file is read before its header is written,
// so that the two agree whatever happens to the file meanwhile.
const smallFile = 1 << 20

// treeWriter packs directories into one tar.
type treeWriter struct {
	ctx   context.Context
	tw    *tar.Writer
	buf   []byte
	exact bool            // times of files to the nanosecond: make compares them
	skip  map[string]bool // absolute paths on the host that are left out
	// replace gives a file's content in place of the one on the host, by name in the tar.
	replace map[string][]byte
}

func newTreeWriter(ctx context.Context, w io.Writer) *treeWriter {
	return &treeWriter{ctx: ctx, tw: tar.NewWriter(w), buf: make([]byte, smallFile+1)}
}

// children packs what is in dir as name/...; name "" is the top.
func (t *treeWriter) children(dir, name string) error {
	entries, err := list(dir)
	if err != nil {
		return gone(err)
	}
	for _, e := range entries {
		if err := t.ctx.Err(); err != nil {
			return context.Cause(t.ctx)
		}
		if err := t.entry(filepath.Join(dir, e.Name()), join(name, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	return nil
}

// list reads a directory in order. What became a link or file since we looked is empty.
func list(dir string) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// entry packs one file, link or directory and all below it. Sockets, pipes and
// devices are left out, and so is what vanished meanwhile.
func (t *treeWriter) entry(path, name string, kind fs.FileMode) error {
	if t.skip[path] {
		return nil
	}
	switch {
	case kind.IsRegular():
		return t.file(path, name)
	case kind.IsDir():
		fi, err := os.Lstat(path)
		if err != nil {
			return gone(err)
		}
		if err := t.dir(name, fi.Mode(), fi.ModTime()); err != nil {
			return err
		}
		return t.children(path, name)
	case kind&fs.ModeSymlink != 0:
		return t.link(path, name)
	}
	return nil
}

func (t *treeWriter) dir(name string, mode fs.FileMode, at time.Time) error {
	return t.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(mode.Perm()), ModTime: at.Truncate(time.Second)})
}

func (t *treeWriter) link(path, name string) error {
	target, err := os.Readlink(path)
	if errors.Is(err, unix.EINVAL) {
		return nil // no longer a link
	} else if err != nil {
		return gone(err)
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return gone(err)
	}
	return t.tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: fi.ModTime().Truncate(time.Second),
	})
}

// bytes packs a file that is not on the host.
func (t *treeWriter) bytes(name string, content []byte) error {
	err := t.tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Now().Truncate(time.Second),
	})
	if err == nil {
		_, err = t.tw.Write(content)
	}
	return err
}

// file packs a regular file. Plain system calls: for small files the runtime's
// poller would cost more than the reading.
func (t *treeWriter) file(path, name string) error {
	if content, ok := t.replace[name]; ok {
		return t.bytes(name, content)
	}
	fd, err := openFile(path)
	if errors.Is(err, unix.ELOOP) {
		return nil // became a link since we looked
	} else if err != nil {
		return gone(&fs.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: int64(st.Mode & 0o777), Size: st.Size, ModTime: time.Unix(st.Mtim.Sec, 0),
	}
	if t.exact {
		h.ModTime, h.Format = time.Unix(st.Mtim.Unix()), tar.FormatPAX
	}
	if st.Size <= smallFile {
		n, err := readFull(fd, t.buf[:st.Size])
		if err != nil {
			return &fs.PathError{Op: "read", Path: path, Err: err}
		}
		h.Size = int64(n)
		if err := t.tw.WriteHeader(h); err != nil {
			return err
		}
		_, err = t.tw.Write(t.buf[:n])
		return err
	}
	return t.bigFile(fd, h)
}

// bigFile packs a file in pieces, as long as its header says it is: what grew
// meanwhile is cut, what shrank is filled with zeros.
func (t *treeWriter) bigFile(fd int, h *tar.Header) error {
	if err := t.tw.WriteHeader(h); err != nil {
		return err
	}
	for left := h.Size; left > 0; {
		if err := t.ctx.Err(); err != nil {
			return context.Cause(t.ctx)
		}
		b := t.buf[:min(left, smallFile)]
		n, err := readFull(fd, b)
		if err != nil {
			return &fs.PathError{Op: "read", Path: h.Name, Err: err}
		}
		clear(b[n:])
		if _, err := t.tw.Write(b); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	return nil
}

// openFile does not follow a link and does not wait for the other end of a pipe.
func openFile(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// readFull reads until p is full or the file ends.
func readFull(fd int, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Read(fd, p[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// gone forgives files that vanished between being listed and being opened.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (make it readable, or move it out of the source): %w", err, ci.ErrDenied)
	}
	return err
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
