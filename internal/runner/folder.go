package runner

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// kept is one file that was taken out of a sandbox.
type kept struct {
	name   string // slash path below the folder
	size   int64
	sha256 string
}

// take packs the chosen files in the sandbox and hands the tar to use, which
// reads it to its end or fails.
func (j *job) take(ctx context.Context, set ci.FileSet, use func(*tar.Reader) error) (ci.Matched, error) {
	r, w := io.Pipe()
	type answer struct {
		matched ci.Matched
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		m, err := j.sandbox.Get(ctx, set, w)
		_ = w.CloseWithError(err)
		done <- answer{m, err}
	}()
	useErr := use(tar.NewReader(r))
	if useErr == nil {
		_, useErr = io.Copy(io.Discard, r) // the padding behind the last entry
	}
	_ = r.CloseWithError(errors.New("the files are not wanted any more"))
	a := <-done
	if useErr != nil {
		return a.matched, useErr
	}
	return a.matched, a.err
}

// selection says what of a tar is taken and under which names.
type selection struct {
	flatten bool      // discard-paths
	since   time.Time // only files changed after it
}

// entries calls f with each regular file and each symbolic link of a tar. Names
// are cleaned and made relative; what is neither is passed over, since nothing
// else belongs into an artifact.
func entries(tr *tar.Reader, sel selection, f func(h *tar.Header, r io.Reader) error) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read files from the sandbox: %w", err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeSymlink {
			continue
		}
		if h.ModTime.Before(sel.since) {
			continue
		}
		h.Name = strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if sel.flatten {
			h.Name = path.Base(h.Name)
		}
		if h.Name == "" {
			continue
		}
		if err := f(h, tr); err != nil {
			return err
		}
	}
}

// folder writes the files of a tar below dir. The root confines every write to
// dir, whatever the names and links in the tar say.
func folder(dir string, sel selection) (func(*tar.Reader) error, *[]kept) {
	files := &[]kept{}
	return func(tr *tar.Reader) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return fmt.Errorf("open %s: %w", dir, err)
		}
		defer root.Close()
		byName := map[string]kept{}
		err = entries(tr, sel, func(h *tar.Header, r io.Reader) error {
			if h.Typeflag != tar.TypeReg {
				return nil
			}
			k, err := writeFile(root, h, r)
			byName[k.name] = k // with discard-paths the last of a name wins
			return err
		})
		for _, k := range byName {
			*files = append(*files, k)
		}
		sort.Slice(*files, func(i, l int) bool { return (*files)[i].name < (*files)[l].name })
		return err
	}, files
}

func writeFile(root *os.Root, h *tar.Header, r io.Reader) (kept, error) {
	name := filepath.FromSlash(h.Name)
	k := kept{name: h.Name, size: h.Size}
	if dir := filepath.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return k, fmt.Errorf("write %s: %w", h.Name, err)
		}
	}
	mode := os.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return k, fmt.Errorf("write %s: %w", h.Name, err)
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return k, fmt.Errorf("write %s: %w", h.Name, err)
	}
	k.sha256 = hex.EncodeToString(sum.Sum(nil))
	return k, root.Chtimes(name, h.ModTime, h.ModTime)
}

// digest is the SHA-256 of a folder: of its sorted "sha256  path" lines, as
// `find . -type f | sort | xargs sha256sum | sha256sum` makes it.
func digest(files []kept) (sum string, size int64) {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s  %s\n", f.sha256, f.name)
		size += f.size
	}
	return hex.EncodeToString(h.Sum(nil)), size
}
