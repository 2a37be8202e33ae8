package agent

import (
	"fmt"
	"io"
	"testing"
)

// TestSettle: what a background process printed before a command ended is in that
// command's output, not in the next one's.
func TestSettle(t *testing.T) {
	t.Parallel()
	var h hub
	first := &spool{dir: t.TempDir()}
	p, w, err := h.pump(first)
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	if _, err := io.WriteString(w, "first\n"); err != nil {
		t.Fatal(err)
	}
	p.flush()
	first.end()
	if got := contents(t, first); got != "first\n" {
		t.Errorf("the first command's output is %q", got)
	}
	for i := range 200 {
		s := &spool{dir: t.TempDir()}
		h.join(s)
		want := fmt.Sprintf("stray %d\n", i)
		if _, err := io.WriteString(w, want); err != nil {
			t.Fatal(err)
		}
		h.settle()
		h.leave(s)
		s.end()
		if got := contents(t, s); got != want {
			t.Fatalf("command %d: output %q, want %q", i, got, want)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h.wait.Wait()
	p.flush() // of one that has ended
	h.settle()
	h.close()
}

func contents(t *testing.T, s *spool) string {
	t.Helper()
	buf := make([]byte, 1<<10)
	n, _, err := s.read(buf, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
