package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// List calls f for each blob whose key begins with prefix (of characters, as S3
// has it: "npm-" finds "npm-1"), in the order of the keys' bytes. A blob whose
// header is damaged is listed with an empty SHA256, so that it can be deleted.
func (d *Dir) List(ctx context.Context, prefix string, f func(ci.Blob) error) error {
	if prefix != "" {
		// Checked as a key with something after it, for "a/" and "a/b" to be fine.
		if err := CheckKey(prefix + "x"); err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
	}
	return d.walk(ctx, "", prefix, f)
}

// entry is a blob or a directory, its name decoded; a directory's ends in a slash,
// which puts it where its keys belong in the order.
type entry struct{ name, file string }

func (d *Dir) walk(ctx context.Context, dir, prefix string, f func(ci.Blob) error) error {
	files, err := os.ReadDir(d.path(dir))
	if absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list blobs: %w", err)
	}
	var entries []entry
	for _, file := range files {
		bare, blob := strings.CutSuffix(file.Name(), suffix)
		name, ok := decode(bare)
		if !ok || blob == file.IsDir() {
			continue // not ours
		}
		if !blob {
			name += "/"
		}
		key := dir + name
		if strings.HasPrefix(key, prefix) || !blob && strings.HasPrefix(prefix, key) {
			entries = append(entries, entry{name, file.Name()})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if strings.HasSuffix(e.name, "/") {
			err = d.walk(ctx, dir+e.name, prefix, f)
		} else {
			err = d.show(dir+e.name, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// path is the folder of a key prefix that is "" or ends in a slash.
func (d *Dir) path(dir string) string {
	if dir == "" {
		return d.blobs
	}
	return strings.TrimSuffix(filepath.Join(d.blobs, place(strings.TrimSuffix(dir, "/"))), suffix)
}

// show lists one blob; one that is gone by now is passed over.
func (d *Dir) show(key string, f func(ci.Blob) error) error {
	file, err := os.Open(filepath.Join(d.blobs, place(key)))
	if absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list blob %s: %w", key, err)
	}
	h, err := readHeader(file)
	info, statErr := file.Stat()
	_ = file.Close()
	if errors.Is(err, ci.ErrInvalid) && statErr == nil {
		return f(ci.Blob{Key: key, Size: info.Size(), Time: info.ModTime()})
	}
	if err := errors.Join(err, statErr); err != nil {
		return fmt.Errorf("list blob %s: %w", key, err)
	}
	return f(h.blob(key))
}
