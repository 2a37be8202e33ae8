package fileset

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// lay makes a tree: "name" is a file that holds its name, "name/" a directory,
// "name -> target" a link.
func lay(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		link, target, isLink := strings.Cut(n, " -> ")
		full := filepath.Join(dir, link)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(strings.ReplaceAll(target, "$DIR", dir), full)
		case strings.HasSuffix(n, "/"):
			err = os.MkdirAll(full, 0o755)
		default:
			err = os.WriteFile(full, []byte(n), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// packed gives what Pack writes, in words.
func packed(t testing.TB, set ci.FileSet) ([]string, ci.Matched) {
	t.Helper()
	var b bytes.Buffer
	m, err := Pack(t.Context(), set, &b)
	if err != nil {
		t.Fatal(err)
	}
	return listing(t, b.Bytes()), m
}

func listing(t testing.TB, data []byte) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		name := h.Name
		if h.Typeflag == tar.TypeSymlink {
			name += " -> " + h.Linkname
		}
		out = append(out, name)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, "a.txt", "b.go", ".env", ".git/config", "src/main.go", "src/sub/deep.go", "src/sub/.hidden/x",
		"build-1/out.jar", "build-1/lib/l.jar", "build-2/out2.jar", "build-2/lib/l.jar", "empty/", "we[ird]/f", "sp ace/x y")
	outside := t.TempDir()
	lay(t, outside, "secret")
	all := []string{".env", ".git/config", "a.txt", "b.go", "build-1/lib/l.jar", "build-1/out.jar", "build-2/lib/l.jar", "build-2/out2.jar",
		"sp ace/x y", "src/main.go", "src/sub/.hidden/x", "src/sub/deep.go", "we[ird]/f"}
	for _, c := range []struct {
		name      string
		set       ci.FileSet
		want      string
		unmatched string
		bases     int
	}{
		{name: "everything", set: ci.FileSet{Globs: []string{"**/*"}}, want: strings.Join(all, "|")},
		{name: "deep alone", set: ci.FileSet{Globs: []string{"**"}}, want: strings.Join(all, "|")},
		{name: "one", set: ci.FileSet{Globs: []string{"a.txt"}}, want: "a.txt"},
		{name: "dot slash", set: ci.FileSet{Globs: []string{"./a.txt", "./src/*"}}, want: "a.txt|src/main.go"},
		{name: "direct", set: ci.FileSet{Globs: []string{"src/*"}}, want: "src/main.go"},
		{name: "top", set: ci.FileSet{Globs: []string{"*"}}, want: ".env|a.txt|b.go"},
		{name: "recursive", set: ci.FileSet{Globs: []string{"src/**/*"}}, want: "src/main.go|src/sub/.hidden/x|src/sub/deep.go"},
		{name: "suffix", set: ci.FileSet{Globs: []string{"**/*.go"}}, want: "b.go|src/main.go|src/sub/deep.go"},
		{name: "middle", set: ci.FileSet{Globs: []string{"*/out*.jar"}}, want: "build-1/out.jar|build-2/out2.jar"},
		{name: "double star in the middle", set: ci.FileSet{Globs: []string{"src/**/deep.go"}}, want: "src/sub/deep.go"},
		{name: "directory is no file", set: ci.FileSet{Globs: []string{"src"}}, unmatched: "src"},
		{name: "directory with Dirs", set: ci.FileSet{Globs: []string{"src", "empty"}, Dirs: true},
			want: "empty/|src/|src/main.go|src/sub/|src/sub/.hidden/|src/sub/.hidden/x|src/sub/deep.go"},
		{name: "one missing", set: ci.FileSet{Globs: []string{"a.txt", "no", "no/*"}}, want: "a.txt", unmatched: "no|no/*"},
		{name: "nothing", set: ci.FileSet{Globs: []string{"*.zip"}}, unmatched: "*.zip"},
		{name: "base", set: ci.FileSet{Base: "src", Globs: []string{"**/*"}}, want: "main.go|sub/.hidden/x|sub/deep.go"},
		{name: "base glob, merged", set: ci.FileSet{Base: "build-*", Globs: []string{"**/*"}}, want: "lib/l.jar|out.jar|out2.jar", bases: 2},
		{name: "base dotted", set: ci.FileSet{Base: "./src/", Globs: []string{"*"}}, want: "main.go"},
		{name: "base missing", set: ci.FileSet{Base: "nope", Globs: []string{"**/*"}}, unmatched: "**/*", bases: -1},
		{name: "base absolute", set: ci.FileSet{Base: outside, Globs: []string{"*"}}, want: "secret"},
		{name: "exclude", set: ci.FileSet{Globs: []string{"**/*"}, Excludes: []string{"**/.*", "**/.*/**/*", "build-*/**/*", "src/sub/*"}},
			want: "a.txt|b.go|sp ace/x y|src/main.go|we[ird]/f"},
		{name: "exclude one star stays inside", set: ci.FileSet{Globs: []string{"src/**/*"}, Excludes: []string{"src/*"}}, want: "src/sub/.hidden/x|src/sub/deep.go"},
		{name: "exclude relative to base", set: ci.FileSet{Base: "src", Globs: []string{"**/*"}, Excludes: []string{"sub/**/*"}}, want: "main.go"},
		{name: "exclude directory with Dirs", set: ci.FileSet{Globs: []string{"src"}, Excludes: []string{"src/sub"}, Dirs: true}, want: "src/|src/main.go"},
		{name: "absolute", set: ci.FileSet{Globs: []string{outside + "/*"}}, want: strings.TrimPrefix(outside, "/") + "/secret"},
		{name: "braces", set: ci.FileSet{Globs: []string{"{a,b}.{txt,go}", "{src/sub,build-1}/*"}}, want: "a.txt|b.go|build-1/out.jar|src/sub/deep.go"},
		{name: "class", set: ci.FileSet{Globs: []string{"[ab].*", `we\[ird\]/?`}}, want: "a.txt|b.go|we[ird]/f"},
		{name: "dot dot inside", set: ci.FileSet{Globs: []string{"src/../a.txt"}}, want: "a.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.set.Dir = dir
			got, m := packed(t, c.set)
			if strings.Join(got, "|") != c.want {
				t.Errorf("packed\n got %s\nwant %s", strings.Join(got, "|"), c.want)
			}
			if strings.Join(m.Unmatched, "|") != c.unmatched {
				t.Errorf("unmatched %q, want %q", m.Unmatched, c.unmatched)
			}
			if c.bases > 0 && len(m.Bases) != c.bases || c.bases < 0 && len(m.Bases) != 0 {
				t.Errorf("bases %q, want %d", m.Bases, c.bases)
			}
			if len(m.Problems) > 0 {
				t.Errorf("problems %q", m.Problems)
			}
			names, _, err := List(t.Context(), c.set)
			files := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return strings.HasSuffix(s, "/") })
			if err != nil || !slices.Equal(names, files) || m.Files != len(files) {
				t.Errorf("List gave %q, %v; Pack %d files %q", names, err, m.Files, files)
			}
		})
	}
}

func TestChooseRefuses(t *testing.T) {
	t.Parallel()
	for _, set := range []ci.FileSet{
		{Dir: "/tmp", Globs: []string{"[a"}},
		{Dir: "/tmp", Globs: []string{"*/../x"}},
		{Dir: "/tmp", Globs: []string{"a\x00b"}},
		{Dir: "/tmp", Globs: []string{strings.Repeat("{a,b}", 12)}},
		{Dir: "/tmp", Globs: []string{"*"}, Excludes: []string{"["}},
		{Globs: []string{"*"}},
	} {
		if _, err := Pack(t.Context(), set, io.Discard); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", set, err)
		}
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	lay(t, outside, "secret")
	dir := t.TempDir()
	lay(t, dir, "d/f", "in -> d/f", "abs -> $DIR/d/f", "dir -> d", "d/loop -> ..", "self -> self", "dangling -> nowhere",
		"out -> "+outside+"/secret", "outdir -> "+outside, "up -> ../../../../../../../../etc/passwd")
	got, m := packed(t, ci.FileSet{Dir: dir, Globs: []string{"**/*"}})
	if want := "abs|d/f|dir/f|in"; strings.Join(got, "|") != want {
		t.Errorf("followed links:\n got %s\nwant %s", strings.Join(got, "|"), want)
	}
	for _, name := range []string{"out:", "outdir:", "up:", "dangling:", "self:"} {
		if !slices.ContainsFunc(m.Problems, func(p string) bool { return strings.HasPrefix(p, name) }) {
			t.Errorf("no problem of %s in %q", name, m.Problems)
		}
	}
	got, m = packed(t, ci.FileSet{Dir: dir, Globs: []string{"**/*"}, Symlinks: true})
	if want := "abs -> " + dir + "/d/f|d/f|d/loop -> ..|dangling -> nowhere|dir -> d|in -> d/f|self -> self"; strings.Join(got, "|") != want {
		t.Errorf("kept links:\n got %s\nwant %s", strings.Join(got, "|"), want)
	}
	if len(m.Problems) != 3 {
		t.Errorf("problems %q, want three", m.Problems)
	}
}

// A few directories full of links to each other have more paths than can be walked.
func TestLinkMaze(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 12 {
		lay(t, dir, fmt.Sprintf("d%d/f", i))
		for j := range 12 {
			lay(t, dir, fmt.Sprintf("d%d/l%d -> ../d%d", i, j, j))
		}
	}
	s, err := choose(t.Context(), ci.FileSet{Dir: dir, Globs: []string{"**/*.none"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if len(s.entries) != 0 || s.linked <= maxLinked {
		t.Errorf("%d entries, %d directories behind links; want none, and the bound to end it", len(s.entries), s.linked)
	}
}

func TestPackIsReproducible(t *testing.T) {
	t.Parallel()
	when := time.Unix(1700000000, 123456789)
	var first []byte
	for range 2 {
		dir := t.TempDir()
		lay(t, dir, "b", "a", "x/y/z", "x/a", "long/"+strings.Repeat("n", 200)+"/"+strings.Repeat("é", 90))
		if err := os.Chmod(filepath.Join(dir, "a"), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = filepath.Walk(dir, func(p string, _ os.FileInfo, _ error) error { return os.Chtimes(p, when, when) })
		var b bytes.Buffer
		if _, err := Pack(t.Context(), ci.FileSet{Dir: dir, Globs: []string{"**/*"}}, &b); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			t.Error("the same files gave different tars")
		}
	}
	to := filepath.Join(t.TempDir(), "made/here")
	if err := Unpack(t.Context(), to, bytes.NewReader(first), Limits{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(to + "/a")
	if err != nil || info.Mode().Perm() != 0o755 || !info.ModTime().Equal(when) {
		t.Errorf("a came back as %v, %v", info, err)
	}
	if data, err := os.ReadFile(to + "/x/y/z"); string(data) != "x/y/z" || err != nil {
		t.Errorf("x/y/z holds %q, %v", data, err)
	}
}

// shrinker cuts a file short as soon as its header was written.
type shrinker struct {
	bytes.Buffer
	path string
	done bool
}

func (s *shrinker) Write(p []byte) (int, error) {
	if !s.done {
		s.done = true
		if err := os.Truncate(s.path, 10); err != nil {
			return 0, err
		}
		if err := os.Remove(filepath.Join(filepath.Dir(s.path), "z-gone")); err != nil {
			return 0, err
		}
	}
	return s.Buffer.Write(p)
}

func TestChangesWhilePacking(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, "z-gone", "z-last")
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := &shrinker{path: big}
	m, err := Pack(t.Context(), ci.FileSet{Dir: dir, Globs: []string{"**/*"}}, w)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(listing(t, w.Bytes()), "|"); got != "big|z-last" {
		t.Errorf("packed %s", got)
	}
	if len(m.Problems) != 3 || !strings.Contains(strings.Join(m.Problems, "|"), "shorter") {
		t.Errorf("problems %q, want: shorter, vanished, not a file", m.Problems)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay(t, dir, "b", "a", "c/d")
	sum := sha256.Sum256([]byte("abc/d"))
	got, m, err := Hash(t.Context(), ci.FileSet{Dir: dir, Globs: []string{"c/*", "*"}})
	if err != nil || got != hex.EncodeToString(sum[:]) || m.Files != 3 {
		t.Errorf("got %s, %+v, %v; want %x", got, m, err, sum)
	}
}

// BenchmarkPack packs and unpacks 5,000 files of 4 KiB.
func BenchmarkPack(b *testing.B) {
	dir := b.TempDir()
	data := make([]byte, 4096)
	for i := range 5000 {
		d := filepath.Join(dir, fmt.Sprintf("d%d/sub", i%100))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprint(i)), data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	set := ci.FileSet{Dir: dir, Globs: []string{"**/*"}}
	var packed bytes.Buffer
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			packed.Reset()
			if m, err := Pack(b.Context(), set, &packed); err != nil || m.Files != 5000 {
				b.Fatal(m, err)
			}
		}
	})
	to := b.TempDir()
	if err := Spread(to); err != nil {
		b.Fatal(err)
	}
	b.Run("unpack", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if err := Unpack(b.Context(), fmt.Sprintf("%s/%d", to, i), bytes.NewReader(packed.Bytes()), Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
