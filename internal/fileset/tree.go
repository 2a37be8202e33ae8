package fileset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is an open directory below which files are found and read, and outside of
// which nothing is.
type tree struct {
	path string // without links in it
	root *os.Root
	dir  *os.File // the same directory, for openat2
}

func openTree(dir string) (*tree, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(real)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &tree{path: real, root: root, dir: f}, nil
}

func (t *tree) close() { _ = errors.Join(t.dir.Close(), t.root.Close()) }

// open opens a path that has no links in it. If somebody puts one there in the
// meantime, it fails or stays inside.
func (t *tree) open(rel string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, // a FIFO must not hold us
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(t.dir.Fd()), rel, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), filepath.Join(t.path, rel)), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOSYS, unix.EPERM: // an old kernel, or a container engine's filter of its time
			return t.root.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
		}
		return nil, &os.PathError{Op: "open", Path: filepath.Join(t.path, rel), Err: err}
	}
}

var errOutside = errors.New("leads outside")

// resolve follows a link to a path in the tree that has no links in it.
func (t *tree) resolve(rel string) (string, error) {
	real, err := filepath.EvalSymlinks(filepath.Join(t.path, rel))
	if err != nil {
		return "", err
	}
	inside, ok := t.inside(real)
	if !ok {
		return "", fmt.Errorf("%w of %s, to %s", errOutside, t.path, real)
	}
	return inside, nil
}

// inside gives the path relative to the tree, "." for the tree itself.
func (t *tree) inside(abs string) (string, bool) {
	if abs == t.path {
		return ".", true
	}
	prefix := t.path
	if prefix != "/" {
		prefix += "/"
	}
	return strings.CutPrefix(abs, prefix)
}
