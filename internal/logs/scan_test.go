package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestLinesAreAll puts the lines together again, whatever the text and however
// it is read.
func TestLinesAreAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		for range rapid.IntRange(0, 5).Draw(t, "parts") {
			n := rapid.SampledFrom([]int{0, 1, 7, 64<<10 - 1, 64 << 10, MaxLine - 1, MaxLine, MaxLine + 1, 2*MaxLine + 3}).Draw(t, "n")
			text = append(text, bytes.Repeat([]byte("x"), n)...)
			text = append(text, strings.Repeat("\n", rapid.IntRange(0, 2).Draw(t, "ends"))...)
		}
		var r io.Reader = bytes.NewReader(text)
		if rapid.Bool().Draw(t, "halves") {
			r = iotest.HalfReader(r)
		}
		l := NewLines(r, Place{})
		var got []byte
		at := Place{}
		for {
			line, err := l.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || line.Place != at || len(line.Text) > MaxLine {
				t.Fatalf("got line at %+v of %d bytes, %v; want one at %+v", line.Place, len(line.Text), err, at)
			}
			if want := int64(bytes.Count(text[:line.Offset], newline)); line.Line != want {
				t.Fatalf("the line at byte %d has number %d, want %d", line.Offset, line.Line, want)
			}
			got = append(got, line.Text...)
			if line.Next.Line > line.Line {
				got = append(got, '\n')
			}
			at = line.Next
		}
		if !bytes.Equal(got, text) {
			t.Fatalf("got %d bytes back of %d", len(got), len(text))
		}
	})
}

// clocked is a store whose time the test sets.
func clocked(t *testing.T) (*Store, *time.Time) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	s, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, &now
}

// TestTimesOfLines writes lines at known times and in pieces, and asks for each,
// before and after the log was packed.
func TestTimesOfLines(t *testing.T) {
	t.Parallel()
	s, now := clocked(t)
	begin := *now
	w := appendTo(t, s, stepName)
	var came []time.Duration // of each line
	put := func(after time.Duration, text string) {
		*now = now.Add(after)
		for range strings.Count(text, "\n") {
			came = append(came, now.Sub(begin))
		}
		write(t, w, text)
	}
	put(0, "first\n")
	put(10*time.Millisecond, "too soon for a record of its own\n")
	put(time.Minute, "after a minute\n")
	came = append(came, now.Sub(begin)+time.Second)
	*now = now.Add(time.Second)
	write(t, w, "dots")
	for range 50 {
		*now = now.Add(time.Second)
		write(t, w, ".")
	}
	write(t, w, "\n")
	for range 200 {
		put(5*time.Second, strings.Repeat("line of a burst\n", 400))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Hour)
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		r, err := s.Open(t.Context(), stepName, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		times, err := s.Times(stepName)
		if err != nil {
			t.Fatal(err)
		}
		defer times.Close()
		lines := NewLines(r, Place{})
		for i := 0; ; i++ {
			line, err := lines.Next()
			if errors.Is(err, io.EOF) && i == len(came) {
				break
			}
			if err != nil {
				t.Fatalf("line %d of %d: %v", i, len(came), err)
			}
			at, err := times.At(line.Offset)
			if d := at.Sub(begin) - came[i]; err != nil || d.Abs() > recordSpan {
				t.Fatalf("line %d came after %v, want %v (%v)", i, at.Sub(begin), came[i], err)
			}
		}
		for _, i := range []int{0, 2, 3, 4, 404, len(came) - 400} {
			at, err := s.PlaceSince(t.Context(), stepName, begin.Add(came[i]))
			if want, _ := s.PlaceOf(t.Context(), stepName, int64(i)); err != nil || at != want {
				t.Errorf("since %v: got %+v, %v; want %+v", came[i], at, err, want)
			}
		}
		if at, err := s.PlaceSince(t.Context(), stepName, now.Add(time.Hour)); err != nil || at.Line != int64(len(came)) {
			t.Errorf("since a time to come: got %+v, %v; want the end", at, err)
		}
		if at, n, err := s.PlaceLast(t.Context(), stepName, 10); err != nil || n != 10 || at.Line != int64(len(came)-10) {
			t.Errorf("last 10: got %+v, %d, %v", at, n, err)
		}
		if at, n, err := s.PlaceLast(t.Context(), stepName, 1<<40); err != nil || n != int64(len(came)) || at != (Place{}) {
			t.Errorf("more than there are: got %+v, %d, %v", at, n, err)
		}
	}
	check()
	pack(t, s, 1)
	check()
}

// pack packs all that is sealed.
func pack(t *testing.T, s *Store, want int) {
	t.Helper()
	done, err := s.Pack(t.Context(), -1<<62)
	if err != nil || done.Logs != want {
		t.Fatalf("packed %+v, %v; want %d logs", done, err, want)
	}
}

// bigLog writes and seals a log of n numbered lines.
func bigLog(t *testing.T, s *Store, n int) string {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "line %d of the log \x1b[3%dmin colour\x1b[0m\n", i, i%8)
	}
	w := appendTo(t, s, stepName)
	write(t, w, text.String())
	if err := errors.Join(w.Close(), s.Seal(t.Context(), stepName)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func readFrom(t *testing.T, s *Store, from int64) string {
	t.Helper()
	r, err := s.Tail(t.Context(), stepName, from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPackedReadsTheSame(t *testing.T) {
	t.Parallel()
	s, _ := clocked(t)
	text := bigLog(t, s, 40_000)
	before, err := s.Stat(stepName)
	if err != nil {
		t.Fatal(err)
	}
	reading, err := s.Tail(t.Context(), stepName, 0) // begun while it was plain
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(reading, head); err != nil {
		t.Fatal(err)
	}
	pack(t, s, 1)
	pack(t, s, 0)
	base := filepath.Join(s.dir, string(stepName))
	if _, err := os.Stat(base + logSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plain log is still there: %v", err)
	}
	small, err := os.Stat(base + packedSuffix)
	if err != nil || small.Size() > int64(len(text)/4) {
		t.Errorf("got %d bytes of %d, %v", small.Size(), len(text), err)
	}
	if rest, err := io.ReadAll(reading); err != nil || string(head)+string(rest) != text {
		t.Errorf("who was reading got %d bytes more, %v", len(rest), err)
	}
	if after, err := s.Stat(stepName); err != nil || after != before {
		t.Errorf("got %+v, %v; want %+v", after, err, before)
	}
	for _, from := range []int64{0, 1, frameSize - 1, frameSize, frameSize + 1, int64(len(text)) - 1, int64(len(text)), int64(len(text)) + 9} {
		if got := readFrom(t, s, from); got != text[min(from, int64(len(text))):] {
			t.Errorf("from byte %d: got %d bytes, want %d", from, len(got), int64(len(text))-from)
		}
	}
	// A process that was killed between the seal and the note of it says it all again.
	w := appendTo(t, s, stepName)
	if w.Raw() != int64(len(text)) {
		t.Errorf("Raw() = %d, want %d", w.Raw(), len(text))
	}
	write(t, w, "once more\n")
	if err := errors.Join(w.Close(), s.Seal(t.Context(), stepName)); err != nil {
		t.Fatal(err)
	}
	if got := readFrom(t, s, 0); got != text {
		t.Errorf("the packed log changed: %d bytes", len(got))
	}
	if err := s.Remove(stepName.Job().Build()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(stepName); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("removed: got %v, want ErrNotFound", err)
	}
}

// TestPackKilled has it killed at each of its steps, as the files then are.
func TestPackKilled(t *testing.T) {
	t.Parallel()
	s, _ := clocked(t)
	text := bigLog(t, s, 20_000)
	base := filepath.Join(s.dir, string(stepName))
	plain, err := os.ReadFile(base + logSuffix)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := os.ReadDir(filepath.Join(s.dir, sealedDir))
	if err != nil || len(marks) != 1 {
		t.Fatalf("got marks %v, %v", marks, err)
	}
	mark := filepath.Join(s.dir, sealedDir, marks[0].Name())
	// While it wrote.
	if err := os.WriteFile(mark+unfinished, []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	pack(t, s, 1)
	// Before the plain one was removed; then before the mark was.
	for _, again := range []func() error{
		func() error { return os.WriteFile(base+logSuffix, plain, 0o600) },
		func() error { return nil },
	} {
		if err := errors.Join(again(), s.mark(stepName)); err != nil {
			t.Fatal(err)
		}
		if got := readFrom(t, s, 0); got != text {
			t.Errorf("after a kill: got %d bytes, want %d", len(got), len(text))
		}
		if _, err := s.Pack(t.Context(), -1<<62); err != nil {
			t.Fatal(err)
		}
		if got := readFrom(t, s, 0); got != text {
			t.Errorf("packed again: got %d bytes, want %d", len(got), len(text))
		}
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, sealedDir)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(base + logSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plain log is still there: %v", err)
	}
}

// TestPackedDamage turns bytes over: what is read is right, or an error.
func TestPackedDamage(t *testing.T) {
	t.Parallel()
	s, _ := clocked(t)
	text := bigLog(t, s, 12_000)
	pack(t, s, 1)
	path := filepath.Join(s.dir, string(stepName)+packedSuffix)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		damaged := bytes.Clone(sound)
		i := rapid.IntRange(0, len(sound)-1).Draw(t, "byte")
		damaged[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "turned"))
		if rapid.Bool().Draw(t, "cut") {
			damaged = damaged[:i]
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), stepName, 0)
		if err != nil {
			return
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err == nil && string(got) != text {
			t.Fatalf("byte %d: %d bytes without an error", i, len(got))
		}
	})
}

func FuzzPackedTable(f *testing.F) {
	var packed bytes.Buffer
	if err := writeFrames(f.Context(), &packed, strings.NewReader(strings.Repeat("some text\n", 60_000))); err != nil {
		f.Fatal(err)
	}
	f.Add(packed.Bytes())
	f.Add(packed.Bytes()[packed.Len()-40:])
	f.Fuzz(func(t *testing.T, text []byte) {
		frames, err := readTable(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			return
		}
		for i, next := range frames[1:] {
			if next.packed <= frames[i].packed || next.plain <= frames[i].plain || next.packed > int64(len(text)) {
				t.Fatalf("frame %d: from %+v to %+v in %d bytes", i, frames[i], next, len(text))
			}
		}
	})
}
