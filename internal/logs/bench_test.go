package logs

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// BenchmarkMillionLines takes 1,000,000 lines (100 MB) in pieces of 64 KiB,
// bare to a file, and masked and indexed to a log.
func BenchmarkMillionLines(b *testing.B) {
	text := buildOutput(100_000) // ten times over
	pour := func(b *testing.B, w io.Writer) {
		for range 10 {
			for p := text; len(p) > 0; {
				n := min(len(p), blockSize)
				if _, err := w.Write(p[:n]); err != nil {
					b.Fatal(err)
				}
				p = p[n:]
			}
		}
	}
	b.Run("file", func(b *testing.B) {
		name := filepath.Join(b.TempDir(), "out")
		for b.Loop() {
			f, err := os.Create(name)
			if err != nil {
				b.Fatal(err)
			}
			pour(b, f)
			if err := f.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("log", func(b *testing.B) {
		s, err := Open(b.TempDir(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		for b.Loop() {
			w, err := s.Append(b.Context(), stepName, benchSecrets())
			if err != nil {
				b.Fatal(err)
			}
			pour(b, w)
			if err := s.Seal(b.Context(), stepName); err != nil {
				b.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(s.dir, "b1")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A quarter of a gigabyte, as one line without an end, leaves the memory as it was.
func TestMemoryStaysFlat(t *testing.T) {
	s := openStore(t, t.TempDir())
	size := 256 << 20
	if testing.Short() {
		size = 64 << 20
	}
	secrets := append(benchSecrets(), "a secret that the line nearly is")
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = secrets[10][i%(len(secrets[10])-1)]
	}
	before := heap()
	w := appendTo(t, s, stepName, secrets...)
	var most uint64
	for done := 0; done < size; done += len(piece) {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
		if done%(32<<20) == 0 {
			most = max(most, heap())
		}
	}
	if most > before+8<<20 {
		t.Errorf("the heap grew by %d KiB", (most-before)>>10)
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	r := tail(t, s, 0)
	if n, err := io.Copy(io.Discard, r); err != nil || n != int64(size) {
		t.Errorf("read back %d bytes, %v; want %d", n, err, size)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

var _ ci.LogWriter = (*Writer)(nil)
