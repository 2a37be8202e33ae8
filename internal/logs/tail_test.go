package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func tail(t *testing.T, s *Store, from int64) io.ReadCloser {
	t.Helper()
	r, err := s.Tail(t.Context(), stepName, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestTailFollows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	other := openStore(t, dir) // knows of the writer only through the files
	early, foreign := bufio.NewReader(tail(t, s, 0)), bufio.NewReader(tail(t, other, 0))
	w := appendTo(t, s, stepName)
	for i := range 100 {
		line := fmt.Sprintf("line %d\n", i)
		write(t, w, line)
		for _, r := range []*bufio.Reader{early, foreign} {
			if got, err := r.ReadString('\n'); err != nil || got != line {
				t.Fatalf("got %q, %v, want %q", got, err, line)
			}
		}
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*bufio.Reader{early, foreign} {
		if b, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after the seal: got %q, %v, want EOF", b, err)
		}
	}
	if got, err := io.ReadAll(tail(t, s, 787)); err != nil || string(got) != "99\n" {
		t.Errorf("from a byte: got %q, %v", got, err)
	}
	if got, err := io.ReadAll(tail(t, s, 1<<40)); err != nil || len(got) != 0 {
		t.Errorf("from beyond the end: got %q, %v", got, err)
	}
}

// The writer moves on to another process while a reader waits.
func TestTailOutlivesTheWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, other := openStore(t, dir), openStore(t, dir)
	r := bufio.NewReader(tail(t, s, 0))
	for i := range 20 {
		st := []*Store{s, other}[i%2]
		w := appendTo(t, st, stepName)
		write(t, w, "x\n")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := r.ReadString('\n'); err != nil || got != "x\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if err := other.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want EOF", err)
	}
}

func TestTailEnds(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	tests := map[string]struct {
		end  func(s *Store, r io.Closer, cancel context.CancelCauseFunc)
		want error
	}{
		"reader closed":    {func(_ *Store, r io.Closer, _ context.CancelCauseFunc) { _ = r.Close() }, fs.ErrClosed},
		"store closed":     {func(s *Store, _ io.Closer, _ context.CancelCauseFunc) { _ = s.Close() }, fs.ErrClosed},
		"context canceled": {func(_ *Store, _ io.Closer, c context.CancelCauseFunc) { c(stop) }, stop},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, t.TempDir())
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r, err := s.Tail(ctx, stepName, 0)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error)
			go func() {
				_, err := r.Read(make([]byte, 1))
				failed <- err
			}()
			tt.end(s, r, cancel)
			if err := <-failed; !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			_ = r.Close()
			if len(s.steps) != 0 {
				t.Errorf("%d steps are still held", len(s.steps))
			}
		})
	}
}

func TestManyReaders(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	text := string(buildOutput(5000))
	var wg sync.WaitGroup
	for i := range 20 {
		from := int64(i * len(text) / 20)
		r := tail(t, s, from)
		wg.Go(func() {
			if got, err := io.ReadAll(r); err != nil || string(got) != text[from:] {
				t.Errorf("reader from %d: %d bytes, %v; want %d", from, len(got), err, int64(len(text))-from)
			}
		})
	}
	slow := tail(t, s, 0) // hurts nobody: it does not read at all
	w := appendTo(t, s, stepName)
	for p := text; p != ""; {
		n := min(len(p), 777)
		write(t, w, p[:n])
		p = p[n:]
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if got, err := io.ReadAll(slow); err != nil || len(got) != len(text) {
		t.Errorf("slow reader: %d bytes, %v", len(got), err)
	}
}

const killEnv = "SLUICE_LOGS_TEST_DIR"

func killedText() string { return strings.Repeat("a line with hunter2 in it\n", 40_000) }

// TestWriterProcess is not a test of its own: TestKill9 runs it as the process to kill.
func TestWriterProcess(t *testing.T) {
	dir := os.Getenv(killEnv)
	if dir == "" {
		t.SkipNow()
	}
	s := openStore(t, dir)
	w := appendTo(t, s, stepName, "hunter2")
	for raw := killedText()[w.Raw():]; raw != ""; {
		n := min(len(raw), 1000)
		write(t, w, raw[:n])
		raw = raw[n:]
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
}

func TestKill9(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	want := strings.ReplaceAll(killedText(), "hunter2", mark)
	r := tail(t, s, 0) // one reader sees it all, across the kills
	var got strings.Builder
	for kill := 1; ; kill++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWriterProcess$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if kill > 4 {
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			break
		}
		// Killed as soon as the reader has seen so much.
		if _, err := io.CopyN(&got, r, int64(kill*len(want)/40)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if _, err := io.Copy(&got, r); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("followed: %d bytes, want %d, equal up to %d", got.Len(), len(want), common(got.String(), want))
	}
	if text := content(t, s, stepName); text != want {
		t.Errorf("kept: %d bytes, want %d, equal up to %d", len(text), len(want), common(text, want))
	}
}

func common(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

func TestTailRefusesBadPlaces(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	for _, c := range []struct {
		step ci.StepID
		from int64
	}{{stepName, -1}, {"", 0}, {"a//b", 0}} {
		if _, err := s.Tail(t.Context(), c.step, c.from); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("step %q from %s: got %v, want ErrInvalid", c.step, strconv.FormatInt(c.from, 10), err)
		}
	}
}

// A log that somebody removes has no end that a reader could wait for, whether
// the writer is in this process, in another one or gone.
func TestTailOfARemovedLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	other := openStore(t, dir)
	mine, foreign := bufio.NewReader(tail(t, s, 0)), bufio.NewReader(tail(t, other, 0))
	w := appendTo(t, s, stepName)
	write(t, w, "line\n")
	for _, r := range []*bufio.Reader{mine, foreign} {
		if got, err := r.ReadString('\n'); err != nil || got != "line\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	type end struct {
		who string
		err error
	}
	ends := make(chan end, 2)
	for who, r := range map[string]*bufio.Reader{"mine": mine, "foreign": foreign} {
		go func() {
			_, err := r.ReadByte()
			ends <- end{who, err}
		}()
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(t.Context(), stepName); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if e := <-ends; !errors.Is(e.err, ci.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", e.who, e.err)
		}
	}
}

// A folder that was removed and made again is watched as a new one.
func TestTailInAFolderMadeAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	reading := openStore(t, dir)
	for round := range 3 {
		r := bufio.NewReader(tail(t, reading, 0))
		lines := make(chan string)
		end := make(chan error, 1)
		go func() {
			defer close(lines)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					end <- err
					return
				}
				lines <- line
			}
		}()
		w := appendTo(t, openStore(t, dir), stepName)
		for _, want := range []string{"one\n", "two\n"} {
			write(t, w, want)
			if got := <-lines; got != want {
				t.Fatalf("round %d: got %q, want %q", round, got, want)
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, "b1")); err != nil {
			t.Fatal(err)
		}
		if err := <-end; !errors.Is(err, ci.ErrNotFound) {
			t.Fatalf("round %d: got %v, want ErrNotFound", round, err)
		}
	}
}

// Remove takes all logs of one build, and ends those who read them.
func TestRemove(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	const other = ci.StepID("b10/build/BUILD/0")
	for _, step := range []ci.StepID{stepName, other} {
		write(t, appendTo(t, s, step), "line\n")
		if err := s.Seal(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again is fine
		if err := s.Remove(stepName.Job().Build()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Open(t.Context(), stepName, 0); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("the removed one: got %v, want ErrNotFound", err)
	}
	if _, err := s.Open(t.Context(), other, 0); err != nil {
		t.Errorf("another build's: %v", err)
	}
	for _, id := range []ci.BuildID{"", "a//b"} {
		if err := s.Remove(id); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%q: got %v, want ErrInvalid", id, err)
		}
	}
}

// Open does not wait: it reads what there is, and says when that is nothing.
func TestOpenReadsWhatThereIs(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	if _, err := s.Open(t.Context(), stepName, 0); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("without a log: got %v", err)
	}
	w := appendTo(t, s, stepName)
	write(t, w, "one\ntwo\n")
	for _, sealed := range []bool{false, true} {
		if sealed {
			if err := s.Seal(t.Context(), stepName); err != nil {
				t.Fatal(err)
			}
		}
		for from, want := range map[int64]string{0: "one\ntwo\n", 4: "two\n", 8: "", 99: ""} {
			r, err := s.Open(t.Context(), stepName, from)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err = errors.Join(err, r.Close()); string(got) != want || err != nil {
				t.Errorf("sealed %v, from %d: got %q, %v, want %q", sealed, from, got, err, want)
			}
		}
	}
	if _, err := s.Open(t.Context(), stepName, -1); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("from byte -1: got %v", err)
	}
}
