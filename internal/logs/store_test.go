package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"pgregory.net/rapid"
)

const stepName = ci.StepID("b1/build/BUILD/0")

func openStore(t interface {
	Fatal(...any)
	Cleanup(func())
}, dir string) *Store {
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, s *Store, step ci.StepID) string {
	t.Helper()
	r, err := s.Tail(t.Context(), step, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func appendTo(t *testing.T, s *Store, step ci.StepID, mask ...string) ci.LogWriter {
	t.Helper()
	w, err := s.Append(t.Context(), step, mask)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAppendSealTail(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	w := appendTo(t, s, stepName, "hunter2")
	write(t, w, "one hunter2\ntw")
	if got := w.Raw(); got != 14 {
		t.Errorf("Raw() = %d, want 14", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = appendTo(t, s, stepName, "hunter2")
	if got := w.Raw(); got != 14 {
		t.Errorf("Raw() of the next writer = %d, want 14", got)
	}
	write(t, w, "o\nhunt")
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, s, stepName), "one ***\ntwo\nhunt"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	info, err := s.Stat(stepName)
	if err != nil || info.Size != 16 || info.Lines != 2 || !info.Sealed || info.Updated.IsZero() {
		t.Errorf("Stat = %+v, %v", info, err)
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Error("sealing again:", err)
	}
	if _, err := w.Write([]byte("late")); !errors.Is(err, ci.ErrConflict) {
		t.Errorf("write after seal: got %v, want ErrConflict", err)
	}
	w = appendTo(t, s, stepName)
	write(t, w, "late")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got, want := content(t, s, stepName), "one ***\ntwo\nhunt"; got != want {
		t.Errorf("a sealed log changed: got %q, want %q", got, want)
	}
}

// A prefix of a secret that Close had to show is taken back when the rest comes.
func TestSecretAcrossWriters(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	raw := "token hunter2 end\n"
	w := appendTo(t, s, stepName, "hunter2")
	write(t, w, raw[:9])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Stat(stepName); err != nil || info.Size != 9 {
		t.Fatalf("what Close must show: %+v, %v", info, err)
	}
	w = appendTo(t, s, stepName, "hunter2")
	write(t, w, raw[w.Raw():])
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, s, stepName), "token *** end\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// With patience, a writer waits for one that is on its way out.
func TestALogIsWaitedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := appendTo(t, openStore(t, dir), stepName)
	write(t, first, "one\n")
	other, err := Open(dir, Options{Patience: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	type answer struct {
		w   ci.LogWriter
		err error
	}
	got := make(chan answer, 1)
	go func() {
		w, err := other.Append(t.Context(), stepName, nil)
		got <- answer{w, err}
	}()
	mine := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(mine)
	if _, err := other.Append(ctx, stepName, nil); !errors.Is(err, mine) {
		t.Errorf("given up: got %v, want the cause", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.err != nil {
		t.Fatal(a.err)
	}
	write(t, a.w, "two\n")
	if err := a.w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := other.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	if got := content(t, other, stepName); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
}

func TestOneWriterAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, other := openStore(t, dir), openStore(t, dir) // flock sees two files, as of two processes
	w := appendTo(t, s, stepName)
	for _, st := range []*Store{s, other} {
		if _, err := st.Append(t.Context(), stepName, nil); !errors.Is(err, ci.ErrConflict) {
			t.Errorf("second writer: got %v, want ErrConflict", err)
		}
	}
	if err := other.Seal(t.Context(), stepName); !errors.Is(err, ci.ErrConflict) {
		t.Errorf("seal under a writer elsewhere: got %v, want ErrConflict", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := appendTo(t, other, stepName).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNamesStayInsideAndApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	ids := []ci.StepID{
		"b/j/BUILD", "b/j/BUILD/0", "b/j/BUILD.log/0", "b/j/BUILD.log", "b/j/BUILD.idx", "b/../../x/y", "b/j/.", "b/.../x",
		"b/j#2/BUILD/0", "b/j%232/BUILD/0", "b/j/" + ci.StepID(strings.Repeat("é", 300)), "b/j/" + ci.StepID(strings.Repeat("é", 301)),
		"b/my.job/BUILD/a b\n",
	}
	for _, id := range ids {
		w := appendTo(t, s, id)
		write(t, w, string(id))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Seal(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		if got := content(t, s, id); got != string(id) {
			t.Errorf("log of %q holds %q", id, got)
		}
	}
	up, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*.log"))
	if err != nil || len(up) > 0 {
		t.Errorf("files outside: %v, %v", up, err)
	}
	for _, id := range []ci.StepID{"", "/", "a//b", "/a", "a/", "a/\x00"} {
		if _, err := s.Append(t.Context(), id, nil); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("step %q: got %v, want ErrInvalid", id, err)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "logs"))
	defer appendTo(t, s, stepName).Close()
	err := filepath.Walk(filepath.Join(dir, "logs"), func(path string, fi os.FileInfo, err error) error {
		if err == nil && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLineStart(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	w := appendTo(t, s, stepName)
	var starts []int64
	var at int64
	for i := range 3000 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%97))
		starts = append(starts, at)
		at += int64(len(line))
		write(t, w, line)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	starts = append(starts, at)
	for i, want := range starts {
		if got, err := s.LineStart(t.Context(), stepName, int64(i)); err != nil || got != want {
			t.Fatalf("line %d: got %d, %v, want %d", i, got, err, want)
		}
	}
	if _, err := s.LineStart(t.Context(), stepName, 3001); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("a line too many: got %v, want ErrNotFound", err)
	}
	if _, err := s.LineStart(t.Context(), stepName, -1); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("line -1: got %v, want ErrInvalid", err)
	}
	if _, err := s.LineStart(t.Context(), "b/j/other", 0); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("no such log: got %v, want ErrNotFound", err)
	}
}

// Output that drips leaves no index many times its size, and still nothing of it
// is to be read again after a kill.
func TestIndexStaysSmall(t *testing.T) {
	t.Parallel()
	clock := time.Unix(0, 0)
	s, err := Open(t.TempDir(), Options{Now: func() time.Time { clock = clock.Add(time.Second); return clock }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := appendTo(t, s, stepName)
	const size = 20_000
	text := strings.Repeat(strings.Repeat(".", 999)+"\n", size/1000)
	for i := range size {
		write(t, w, text[i:i+1])
		if i%4999 != 0 {
			continue
		}
		idx, err := os.Open(filepath.Join(s.dir, string(stepName)+indexSuffix))
		if err != nil {
			t.Fatal(err)
		}
		rec, end, err := lastRecord(idx, int64(i+1)*recordSize, int64(i+1))
		_ = idx.Close()
		if err != nil || rec.Raw != int64(i+1) || end > int64(i/recordBytes+i/1000+2)*recordSize {
			t.Fatalf("after %d bytes: %+v, index of %d bytes, %v", i+1, rec, end, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = appendTo(t, s, stepName)
	if got := w.Raw(); got != size {
		t.Errorf("Raw() of the next writer = %d, want %d", got, size)
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	for _, line := range []int64{0, 1, 5, 20} {
		if at, err := s.LineStart(t.Context(), stepName, line); err != nil || at != line*1000 {
			t.Errorf("line %d begins at %d, %v", line, at, err)
		}
	}
}

// dying is a file of a process that is killed in the middle of its n-th write,
// when some of the bytes are on the disk.
type dying struct {
	file
	life *lifetime
}

type lifetime struct {
	writes int // still to go; the next one at 0 is cut
	torn   int // bytes of the cut one that arrive
}

var errKilled = errors.New("killed")

func (d dying) WriteAt(p []byte, at int64) (int, error) {
	d.life.writes--
	if d.life.writes > 0 {
		return d.file.WriteAt(p, at)
	}
	if d.life.writes == 0 {
		_, _ = d.file.WriteAt(p[:min(len(p), d.life.torn)], at)
	}
	return 0, errKilled
}

func (d dying) Truncate(size int64) error {
	if d.life.writes <= 0 {
		return errKilled
	}
	return d.file.Truncate(size)
}

// Killed at any write, any number of times, with any part of the write done:
// nothing is lost, nothing doubled, and no secret shows in between.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		secrets := genSecrets.Draw(rt, "secrets")
		raw := genText(secrets).Draw(rt, "raw")
		for len(raw) > 0 && len(raw) < 3000 && rapid.Bool().Draw(rt, "longer") {
			raw += raw
		}
		want := masked(raw, secrets)
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		clock := time.Unix(0, 0)
		for kills := 0; ; kills++ {
			s, err := Open(dir, Options{Now: func() time.Time { clock = clock.Add(30 * time.Millisecond); return clock }})
			if err != nil {
				rt.Fatal(err)
			}
			life := &lifetime{writes: 1 << 30}
			if kills < 6 {
				life.writes = rapid.IntRange(1, 9).Draw(rt, "writes")
				life.torn = rapid.IntRange(0, 60).Draw(rt, "torn")
			}
			s.wrap = func(f file) file { return dying{f, life} }
			if liveOnce(rt, s, raw, secrets) {
				break
			}
			_ = s.Close()
		}
		got, err := os.ReadFile(filepath.Join(dir, string(stepName)+logSuffix))
		if err != nil || string(got) != want {
			rt.Fatalf("secrets %q, raw %q: got %q, %v, want %q", secrets, raw, got, err, want)
		}
		s := openStore(t, dir)
		info, err := s.Stat(stepName)
		if err != nil || !info.Sealed || info.Lines != int64(strings.Count(want, "\n")) {
			rt.Fatalf("Stat = %+v, %v; want %d lines", info, err, strings.Count(want, "\n"))
		}
	})
}

// liveOnce is one life of the process that writes a log; true when it got to the end.
func liveOnce(t *rapid.T, s *Store, raw string, secrets []string) bool {
	w, err := s.Append(context.Background(), stepName, secrets)
	if err != nil {
		t.Fatal(err)
	}
	alive := true
	for _, c := range cut(t, raw[w.Raw():]) {
		if _, err = io.WriteString(w, c); err != nil {
			alive = false
			break
		}
	}
	if alive {
		if err = s.Seal(context.Background(), stepName); err == nil {
			return true
		}
	}
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	_ = w.Close() // gives up the lock, as the end of the process would
	return false
}
