package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// removeTree removes a folder and all below it, also folders that nobody may
// write to or look into, such as Go's module cache and overlay's work folders.
func removeTree(dir string) error {
	err := removeAll(dir)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	// Folder by folder from the top: one that is opened up shows the next.
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // RemoveAll says what could not be removed
		}
		return os.Chmod(path, 0o700)
	})
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// removeAll is os.RemoveAll with what is in the folder removed at once, because
// where a disk is slow to free things, waiting for one does not hold up the next.
func removeAll(dir string) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() { // a link is removed, not followed
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return os.RemoveAll(dir)
	}
	var g errgroup.Group
	g.SetLimit(8)
	for _, d := range entries {
		g.Go(func() error { return os.RemoveAll(filepath.Join(dir, d.Name())) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
