package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Dir keeps blobs in a folder. Any number of processes may use the same folder
// at once. It implements ci.Blobs.
type Dir struct {
	blobs   string // one file a blob
	temps   string // files being written, each locked by its writer
	durable bool   // Put waits for the disk
}

var _ ci.Blobs = (*Dir)(nil)

// OpenDir opens the folder, makes it if it is missing, and removes what writers
// that were killed left behind in it.
func OpenDir(path string) (*Dir, error) {
	d, err := OpenCache(path)
	if d != nil {
		d.durable = true
	}
	return d, err
}

// OpenCache is OpenDir for what can be made again: Put does not wait for the
// disk. When the host crashes, what was put last may be gone, or be damaged,
// which Open or the reader then tells.
func OpenCache(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("blob folder %s: %w", path, err)
	}
	d := &Dir{blobs: filepath.Join(abs, "blobs"), temps: filepath.Join(abs, "tmp")}
	for _, dir := range []string{d.blobs, d.temps} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("blob folder %s: %w", path, err)
		}
	}
	if err := d.sweep(); err != nil {
		return nil, fmt.Errorf("blob folder %s: remove what killed writers left: %w", path, err)
	}
	return d, nil
}

// Put stores what r gives under key. Readers see the old bytes or the new ones;
// in a folder of OpenDir the new ones are on the disk when Put returns. An error
// of r, or ctx, means that nothing changed.
func (d *Dir) Put(ctx context.Context, key string, r io.Reader) (ci.Blob, error) {
	if err := CheckKey(key); err != nil {
		return ci.Blob{}, err
	}
	f, err := d.temp()
	if err != nil {
		return ci.Blob{}, fmt.Errorf("put blob %s: %w", key, explain(err))
	}
	defer f.Close() // and so unlocks; nothing is written any more
	h, err := write(f, reader{ctx, r}, time.Now())
	if err == nil && d.durable {
		err = f.Sync()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = d.publish(f.Name(), filepath.Join(d.blobs, place(key)))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return ci.Blob{}, fmt.Errorf("put blob %s: %w", key, explain(err))
	}
	return h.blob(key), nil
}

// temp makes a file that only this process writes, and locks it so that the
// sweep of another leaves it alone.
func (d *Dir) temp() (*os.File, error) {
	for {
		f, err := os.OpenFile(filepath.Join(d.temps, rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		// A sweep may have come between the two calls: then it has the lock, or
		// has removed the file already, and another name is tried.
		if lock(f) && linked(f) {
			return f, nil
		}
		_ = os.Remove(f.Name())
		_ = f.Close()
	}
}

// publish moves a finished file to its place.
func (d *Dir) publish(temp, path string) error {
	for {
		made, err := d.mkdirs(filepath.Dir(path))
		if err != nil {
			return err
		}
		err = os.Rename(temp, path)
		if errors.Is(err, fs.ErrNotExist) && exists(temp) {
			continue // a Delete has just removed the empty directory
		}
		if err != nil || !d.durable {
			return err
		}
		for _, dir := range made {
			if err := syncDir(dir); err != nil {
				return err
			}
		}
		return nil
	}
}

// mkdirs makes a directory below d.blobs. It answers the directories whose
// entries change: its own, and the parent of each one it made.
func (d *Dir) mkdirs(dir string) ([]string, error) {
	change := []string{dir}
	for p := dir; p != d.blobs && !exists(p); p = filepath.Dir(p) {
		change = append(change, filepath.Dir(p))
	}
	return change, os.MkdirAll(dir, 0o700)
}

// Delete removes the blob whose key is prefix and all whose keys begin with
// prefix and a slash; nothing there is not an error. A prefix that ends in a
// slash removes only those below it. It never removes "builds/10" for "builds/1".
func (d *Dir) Delete(ctx context.Context, prefix string) error {
	key, below := strings.CutSuffix(prefix, "/")
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("delete blobs: %w", err)
	}
	file := filepath.Join(d.blobs, place(key))
	if !below {
		if err := os.Remove(file); err != nil && !absent(err) {
			return fmt.Errorf("delete blob %s: %w", key, err)
		}
	}
	tree := strings.TrimSuffix(file, suffix)
	var dirs []string
	err := filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case absent(err):
			return nil
		case err != nil:
			return err
		case e.IsDir():
			dirs = append(dirs, path)
			return nil
		}
		if err := os.Remove(path); err != nil && !absent(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete blobs %s: %w", prefix, err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = os.Remove(dirs[i]) // fails when a blob was put meanwhile, and then it stays
	}
	for p := filepath.Dir(file); p != d.blobs && os.Remove(p) == nil; p = filepath.Dir(p) {
	}
	return nil
}

// sweep removes temporary files that nobody holds a lock on.
func (d *Dir) sweep() error {
	entries, err := os.ReadDir(d.temps)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(d.temps, e.Name())
		f, err := os.Open(path)
		if absent(err) {
			continue
		}
		if err != nil {
			return err
		}
		if lock(f) {
			err = os.Remove(path)
		}
		_ = f.Close()
		if err != nil && !absent(err) {
			return err
		}
	}
	return nil
}

// lock takes the file's lock if nobody has it. The kernel drops it when the
// process ends, however it ends.
func lock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func linked(f *os.File) bool {
	now, err := os.Lstat(f.Name())
	if err != nil {
		return false
	}
	mine, err := f.Stat()
	return err == nil && os.SameFile(mine, now)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// absent also takes in a path whose parent is a file.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if absent(err) {
		return nil // removed since, with all that was in it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// explain says what to do where a person can do something.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk is full, free some space and try again: %w: %w", ci.ErrUnavailable, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the blob folder cannot be written, check its owner and mode: %w: %w", ci.ErrUnavailable, err)
	}
	return err
}

// reader ends with the cause of its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
