package source

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkWarmCheckout checks out 100 files of a repository whose mirror has
// the commit, beside git clone from the same mirror.
func BenchmarkWarmCheckout(b *testing.B) {
	dir := newRepo(b)
	for i := range 99 {
		put(b, filepath.Join(dir, fmt.Sprintf("d%d/f%d", i/10, i)), strings.Repeat(fmt.Sprintln("line", i), 100))
	}
	commit(b, dir, "Many")
	f := New(Options{Cache: b.TempDir()})
	src := gitSource(dir, "main")
	c := resolve(b, f, src)
	b.Run("archive", func(b *testing.B) {
		for b.Loop() {
			if err := f.Archive(b.Context(), src, c, io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("resolve and archive", func(b *testing.B) {
		for b.Loop() {
			if err := f.Archive(b.Context(), src, resolve(b, f, src), io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("resolve directory", func(b *testing.B) {
		for b.Loop() {
			s := src
			s.Type = TypeDirectory
			resolve(b, f, s)
		}
	})
	b.Run("git clone", func(b *testing.B) {
		to := filepath.Join(b.TempDir(), "clone")
		for b.Loop() {
			if out, err := exec.Command("git", "clone", "-q", dir, to).CombinedOutput(); err != nil {
				b.Fatal(err, string(out))
			}
			if err := os.RemoveAll(to); err != nil {
				b.Fatal(err)
			}
		}
	})
}
