package fileset

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// archive makes a tar without any of the checks that Pack makes.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		data := []byte("hostile")
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// jail is a directory beside one that nothing may touch.
func jail(t testing.TB) (dir string, check func()) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "jail")
	lay(t, top, "jail/old", "outside/secret")
	before := snapshot(t, filepath.Join(top, "outside"))
	return dir, func() {
		t.Helper()
		if after := snapshot(t, filepath.Join(top, "outside")); after != before {
			t.Errorf("outside was touched:\n%s\nbefore:\n%s", after, before)
		}
		names, err := os.ReadDir(top)
		if err != nil || len(names) != 2 {
			t.Errorf("beside the jail: %v, %v", names, err)
		}
		noWayOut(t, dir)
	}
}

func snapshot(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(p + " " + info.Mode().String() + " " + info.ModTime().String())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			b.Write(data)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// noWayOut follows every link in dir.
func noWayOut(t testing.TB, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return nil
		}
		real, err := filepath.EvalSymlinks(p)
		if err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
			t.Errorf("the link %s leads to %s", p, real)
		}
		return nil
	})
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink} }
	for name, headers := range map[string][]tar.Header{
		"dot dot":                  {{Name: "../outside/secret"}},
		"dot dot inside":           {{Name: "a/../../outside/secret"}},
		"harmless dot dot":         {{Name: "a/../b"}},
		"absolute":                 {{Name: "/etc/hostile"}},
		"link out":                 {link("l", "../outside")},
		"absolute link":            {link("l", "/etc")},
		"through link":             {link("l", "sub"), {Name: "l/x"}},
		"through dir link":         {link("l", "."), {Name: "l/l/l/x"}},
		"dir over link":            {{Name: "sub/", Typeflag: tar.TypeDir}, link("l", "sub"), {Name: "l/", Typeflag: tar.TypeDir}},
		"winding link":             {{Name: "a/b/", Typeflag: tar.TypeDir}, link("a/b/up", "../.."), link("a/b/esc", "up/../outside/secret")},
		"winding absolute":         {link("l", "/x/../../etc")},
		"hard link out":            {hard("l", "../outside/secret")},
		"hard link absolute":       {hard("l", "/etc/passwd")},
		"hard link to a link":      {link("s", "old"), hard("l", "s")},
		"hard link through a link": {link("s", "."), hard("l", "s/old")},
		"hard link to nothing":     {hard("l", "nothing")},
		"hard link to itself":      {hard("old", "old")},
		"character device":         {{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"block device":             {{Name: "dev", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"fifo":                     {{Name: "fifo", Typeflag: tar.TypeFifo}},
		"file over full directory": {{Name: "d/f"}, {Name: "d"}},
		"file at the top":          {{Name: "."}},
		"empty link":               {link("l", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, check := jail(t)
			err := Unpack(t.Context(), dir, bytes.NewReader(archive(t, headers...)), Limits{})
			if !errors.Is(err, ci.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
			check()
		})
	}
}

// A link that was there before may be used inside, and never to leave.
func TestUnpackOverLinks(t *testing.T) {
	t.Parallel()
	dir, check := jail(t)
	lay(t, dir, "real/", "in -> real", "file -> real/target", "deep/er/", "deep/x -> ../real")
	data := archive(t, tar.Header{Name: "in/f"}, tar.Header{Name: "file"}, tar.Header{Name: "old"})
	if err := Unpack(t.Context(), dir, bytes.NewReader(data), Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/real/f"); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(dir + "/file"); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the link was written through: %v, %v", info, err)
	}
	check()
	err := Unpack(t.Context(), dir, bytes.NewReader(archive(t, tar.Header{Name: "deep/x/l", Linkname: "../../outside", Typeflag: tar.TypeSymlink})), Limits{})
	if !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("a link whose directory is a link: %v, want ErrInvalid", err)
	}
	check()
	lay(t, dir, "out -> ../outside", "outfile -> ../outside/secret")
	for _, name := range []string{"out/secret", "out/new/x"} {
		if err := Unpack(t.Context(), dir, bytes.NewReader(archive(t, tar.Header{Name: name})), Limits{}); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if err := Unpack(t.Context(), dir, bytes.NewReader(archive(t, tar.Header{Name: "outfile"})), Limits{}); err != nil {
		t.Error(err)
	}
	_ = os.Remove(dir + "/out")
	check()
}

// What stays open between entries must not outlive its name: here the link that
// leads to real is replaced by a file, and what is then behind it is nowhere.
func TestUnpackForgetsReplacedParents(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]tar.Header{
		"link":          {{Name: "in/f"}, {Name: "in"}, {Name: "in/g"}},
		"below a link":  {{Name: "in/sub/f"}, {Name: "in"}, {Name: "in/sub/g"}},
		"a parent's":    {{Name: "way/in/f"}, {Name: "way/in"}, {Name: "way/in/g"}},
		"made directly": {{Name: "in/f"}, {Name: "in", Linkname: "real/f", Typeflag: tar.TypeLink}, {Name: "in/g"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, check := jail(t)
			lay(t, dir, "real/sub/old", "in -> real", "way/in -> ../real", "real/f")
			if err := Unpack(t.Context(), dir, bytes.NewReader(archive(t, entries...)), Limits{}); err == nil {
				t.Error("an entry behind a file was taken")
			}
			for _, g := range []string{"real/g", "real/sub/g"} {
				if _, err := os.Lstat(filepath.Join(dir, g)); err == nil {
					t.Errorf("%s was written through a link that was gone", g)
				}
			}
			check()
		})
	}
}

func TestUnpackTakes(t *testing.T) {
	t.Parallel()
	dir, check := jail(t)
	data := archive(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}},
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "ro/", Typeflag: tar.TypeDir, Mode: 0o555},
		tar.Header{Name: "ro/f", Mode: 0o4755},
		tar.Header{Name: "ro/l", Linkname: "f", Typeflag: tar.TypeSymlink},
		tar.Header{Name: "h", Linkname: "ro/f", Typeflag: tar.TypeLink},
		tar.Header{Name: "up/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "up/l", Linkname: "../ro/../h", Typeflag: tar.TypeSymlink},
		tar.Header{Name: "abs", Linkname: dir + "/h", Typeflag: tar.TypeSymlink},
		tar.Header{Name: "h"}, // again: replaced, and not the file it was linked with
	)
	for range 2 {
		if err := Unpack(t.Context(), dir, bytes.NewReader(data), Limits{}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir + "/ro/f")
		if err != nil || info.Mode() != 0o755 {
			t.Errorf("ro/f: %v, %v; want mode 755 without set-uid", info, err)
		}
		if info, err := os.Stat(dir + "/ro"); err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("ro: %v, %v", info, err)
		}
	}
	check()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	data := archive(t, tar.Header{Name: "a"}, tar.Header{Name: "b"}, tar.Header{Name: "c"})
	for _, c := range []struct {
		l  Limits
		ok bool
	}{{Limits{Files: 2}, false}, {Limits{Files: 3}, true}, {Limits{Bytes: 20}, false}, {Limits{Bytes: 21}, true}} {
		dir, check := jail(t)
		if err := Unpack(t.Context(), dir, bytes.NewReader(data), c.l); (err == nil) != c.ok || err != nil && !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%+v: %v", c.l, err)
		}
		check()
	}
}

func TestCutOff(t *testing.T) {
	t.Parallel()
	data := archive(t, tar.Header{Name: "a"}, tar.Header{Name: "b"})
	dir, _ := jail(t)
	broken := errors.New("broken")
	if err := Unpack(t.Context(), dir, io.MultiReader(bytes.NewReader(data), &failing{broken}), Limits{}); !errors.Is(err, broken) {
		t.Errorf("a stream that breaks after the archive: %v", err)
	}
	if err := Unpack(t.Context(), dir, bytes.NewReader(data[:515]), Limits{}); err == nil {
		t.Error("an archive that is cut off was taken for whole")
	}
	if err := Unpack(t.Context(), dir, strings.NewReader(strings.Repeat("no tar at all ", 100)), Limits{}); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("no tar: %v, want ErrInvalid", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a/b"}, tar.Header{Name: "l", Linkname: "a", Typeflag: tar.TypeSymlink}))
	f.Add(archive(f, tar.Header{Name: "../x"}))
	f.Add(archive(f, tar.Header{Name: "a/b/up", Linkname: "../..", Typeflag: tar.TypeSymlink}, tar.Header{Name: "a/e", Linkname: "b/up/..", Typeflag: tar.TypeSymlink}))
	f.Add(archive(f, tar.Header{Name: "d/", Typeflag: tar.TypeDir}, tar.Header{Name: "h", Linkname: "old", Typeflag: tar.TypeLink}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, check := jail(t)
		_ = Unpack(t.Context(), dir, bytes.NewReader(data), Limits{Bytes: 1 << 20, Files: 100})
		check()
	})
}

// FuzzLinks makes archives that are well-formed, so that the fuzzer spends its
// time on names: each byte pair adds a link or a file from a small vocabulary.
func FuzzLinks(f *testing.F) {
	words := []string{"a", "b", "a/b", "a/b/c", "..", "../..", "a/..", "b/../..", ".", "a/b/../../..", "../outside/secret", "/etc"}
	f.Add([]byte{0x20, 0x41, 0x12, 0x83})
	f.Add([]byte{0x05, 0x13, 0x46, 0x88, 0x9a, 0x31})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var headers []tar.Header
		for i := 0; i+1 < len(ops) && len(headers) < 40; i += 2 {
			h := tar.Header{Name: words[int(ops[i]>>4)%len(words)], Linkname: words[int(ops[i+1])%len(words)]}
			h.Typeflag = []byte{tar.TypeReg, tar.TypeSymlink, tar.TypeLink, tar.TypeDir}[ops[i]&3]
			if ops[i]&4 != 0 {
				h.Name += "/" + words[int(ops[i+1]>>4)%len(words)]
			}
			headers = append(headers, h)
		}
		dir, check := jail(t)
		_ = Unpack(t.Context(), dir, bytes.NewReader(archive(t, headers...)), Limits{})
		check()
	})
}

func FuzzGlob(f *testing.F) {
	for _, s := range []string{"**/*", "a/{b,c}/*", "[a-z]*", `\[`, "{{a,b},c}", "./../*", "**/**/.*/**", "~/x", "/etc/*"} {
		f.Add(s, "src/sub/file.go")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		text, err := clean("", text)
		if err != nil {
			return
		}
		globs, err := compile(strings.TrimPrefix(text, "/"), 0)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		st := begin(globs)
		for c := range strings.SplitSeq(name, "/") {
			all := st.all(globs)
			st = st.step(globs, c)
			if all && !st.matches(globs) && c != "" {
				t.Fatalf("%q was said to take everything, and not %q of %q", text, c, name)
			}
			st.names(globs)
		}
	})
}
