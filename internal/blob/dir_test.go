package blob_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/blob/blobtest"
	"github.com/sluice-ci/sluice/internal/ci"
)

// writer is the environment variable that makes the test binary a writer that is
// meant to be killed; its value is the folder.
const writer = "SLUICE_BLOB_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writer); dir != "" {
		d, err := blob.OpenDir(dir)
		if err == nil {
			_, err = d.Put(context.Background(), "k", os.Stdin)
		}
		fmt.Println("ended", err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(string) (*blob.Dir, error){"dir": blob.OpenDir, "cache": blob.OpenCache} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance(t, open)
		})
	}
}

func conformance(t *testing.T, open func(string) (*blob.Dir, error)) {
	blobtest.Run(t, func(t *testing.T) blobtest.Store {
		dir := t.TempDir()
		return blobtest.Store{
			Open: func() (ci.Blobs, error) { return open(dir) },
			Damage: func(key string, edit func([]byte) []byte) error {
				path := filepath.Join(dir, "blobs", key+".blob")
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				return os.WriteFile(path, edit(b), 0o600)
			},
		}
	})
}

// TestEveryDamage cuts a stored file at every length and flips a bit of every byte of it.
func TestEveryDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	const text = "some bytes that matter"
	if _, err := d.Put(t.Context(), "k", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", "k.blob")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, from := range []int64{0, 5} {
			r, _, err := d.Open(t.Context(), "k", from)
			if err == nil && len(b) != len(whole) {
				t.Errorf("%s: Open does not see it", what)
			}
			var got []byte
			if err == nil {
				got, err = io.ReadAll(r)
				_ = r.Close()
			}
			if !errors.Is(err, ci.ErrInvalid) || len(got) > 0 {
				t.Errorf("%s, read from %d: %q, %v; want nothing and ErrInvalid", what, from, got, err)
			}
		}
	}
	for n := range whole {
		try(fmt.Sprintf("cut to %d bytes", n), whole[:n])
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("bit %d of byte %d flipped", i%8, i), b)
	}
}

// TestKilledWriter kills a process in mid-Put, after each of several pieces of
// its input, and looks at what the next process finds.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	for _, pieces := range []int{0, 1, 2, 5} {
		dir := t.TempDir()
		d, err := blob.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Put(t.Context(), "k", strings.NewReader("old")); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writer+"="+dir)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range pieces {
			// Larger than what a pipe holds: when it is written, most of it was read.
			if _, err := in.Write(make([]byte, 256<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if pieces > 0 && len(temps(t, dir)) != 1 {
			t.Errorf("a writer at work has %d temporary files, want 1", len(temps(t, dir)))
		}
		// Another process that opens the folder leaves a live writer's file alone.
		if _, err := blob.OpenDir(dir); err != nil {
			t.Fatal(err)
		}
		if pieces > 0 && len(temps(t, dir)) != 1 {
			t.Errorf("opening the folder took a live writer's file away")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		again, err := blob.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if left := temps(t, dir); len(left) != 0 {
			t.Errorf("killed after %d pieces: %q are left", pieces, left)
		}
		r, _, err := again.Open(t.Context(), "k", 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil || string(got) != "old" {
			t.Errorf("killed after %d pieces: read %q, %v; want \"old\"", pieces, got, err)
		}
	}
}

// TestOtherProcess writes with another process and reads here.
func TestOtherProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writer+"="+dir)
	cmd.Stdin = strings.NewReader("from afar")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "ended <nil>" {
		t.Fatalf("writer: %q, %v", out, err)
	}
	r, b, err := d.Open(t.Context(), "k", 5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(bufio.NewReader(r))
	if err != nil || string(got) != "afar" || b.Size != 9 {
		t.Errorf("read %q of %+v, %v", got, b, err)
	}
}

// TestFullDisk fills a small file system: Put fails with advice, the old blob
// stays and nothing is left behind.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs (CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	d, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(t.Context(), "k", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	_, err = d.Put(t.Context(), "k", bytes.NewReader(make([]byte, 1<<20)))
	if !errors.Is(err, ci.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("put on a full disk: %v, want ErrUnavailable and what to do", err)
	}
	if left := temps(t, dir); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
	if _, err := d.Put(t.Context(), "k2", bytes.NewReader(make([]byte, 200<<10))); err != nil {
		t.Errorf("a blob that fits, after one that did not: %v", err)
	}
	r, _, err := d.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "old" || err != nil {
		t.Errorf("read %q, %v, want the old blob", got, err)
	}
}

// TestModes: nobody else on the machine can read blobs, whatever the umask.
func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	d, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put(t.Context(), "a/b/c", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "blobs")); len(left) != 0 {
		t.Errorf("empty directories are left: %v", left)
	}
}

func TestOpenDirSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.OpenDir(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("open of a file as a folder: %v", err)
	}
}

func temps(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			d, err := blob.OpenDir(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := d.Put(b.Context(), "k", bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	d, err := blob.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	const size = 32 << 20
	if _, err := d.Put(b.Context(), "k", bytes.NewReader(make([]byte, size))); err != nil {
		b.Fatal(err)
	}
	for name, from := range map[string]int64{"whole": 0, "last 4 KiB": size - 4096} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size - from)
			for b.Loop() {
				r, _, err := d.Open(b.Context(), "k", from)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				_ = r.Close()
			}
		})
	}
}
