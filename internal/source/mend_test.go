package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// What a crash of the host may leave of a mirror: files that are empty, cut, full
// of zeros or gone. The mirror is made anew, at the latest for the next build.
func TestDamagedMirror(t *testing.T) {
	t.Parallel()
	empty := func(path string) error { return os.WriteFile(path, nil, 0o600) }
	zeros := func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, make([]byte, fi.Size()), 0o600)
	}
	half := func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, fi.Size()/2)
	}
	flip := func(path string) error { // a bit of an object: a file of the commit does not match its name
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)-30] ^= 1
		return os.WriteFile(path, b, 0o600)
	}
	for name, tt := range map[string]struct {
		file  string
		spoil func(path string) error
	}{
		"head empty":     {"HEAD", empty},
		"head gone":      {"HEAD", os.Remove},
		"config zeros":   {"config", zeros},
		"config cut":     {"config", half},
		"ref empty":      {"refs/heads/main", empty},
		"ref zeros":      {"refs/heads/main", zeros},
		"refs gone":      {"refs", os.RemoveAll},
		"objects gone":   {"objects", os.RemoveAll},
		"everything":     {".", os.RemoveAll},
		"nothing in it":  {".", func(path string) error { return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)) }},
		"pack empty":     {"objects/pack/*.pack", empty},
		"pack cut":       {"objects/pack/*.pack", half},
		"pack gone":      {"objects/pack/*.pack", os.Remove},
		"index empty":    {"objects/pack/*.idx", empty},
		"index zeros":    {"objects/pack/*.idx", zeros},
		"index gone":     {"objects/pack/*.idx", os.Remove},
		"object flipped": {"objects/pack/*.pack", flip},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, f := newRepo(t), New(Options{Cache: t.TempDir()})
			src := gitSource(dir, "main")
			c := resolve(t, f, src)
			found, err := filepath.Glob(filepath.Join(f.opt.Cache, "git/*.git", tt.file))
			if err != nil || len(found) != 1 {
				t.Fatalf("found %q, %v", found, err)
			}
			_ = os.Chmod(found[0], 0o700)
			if err := tt.spoil(found[0]); err != nil {
				t.Fatal(err)
			}
			// First the commit that was there, which needs no fetch, then a new one.
			for i := range 2 {
				again, err := f.Resolve(t.Context(), src)
				if err == nil {
					c = again
					err = f.Archive(t.Context(), src, c, io.Discard)
				}
				if err != nil {
					if !errors.Is(err, ci.ErrUnavailable) {
						t.Errorf("the build that met the damage: %v", err)
					}
					c = resolve(t, f, src)
				}
				got := checkout(t, f, src, c)
				if s := gitIn(t, got, "status", "--porcelain", "-b"); s != "## main...origin/main" {
					t.Errorf("status %q", s)
				}
				if s := gitIn(t, got, "fsck", "--no-dangling"); s != "" {
					t.Errorf("fsck: %s", s)
				}
				put(t, filepath.Join(dir, "README"), fmt.Sprint(i))
				commit(t, dir, "More")
			}
			left, err := filepath.Glob(filepath.Join(f.opt.Cache, "git/new-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
