package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func open(t *testing.T, dir string) *store.Journal {
	t.Helper()
	s, err := store.OpenJournal(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func queued(id ci.BuildID) ci.Event {
	return ci.NewEvent(ci.EventBuildQueued, ci.Build{ID: id, Status: ci.Queued})
}

func started(id ci.BuildID) ci.Event {
	return ci.NewEvent(ci.EventBuildStarted, ci.Build{ID: id, Status: ci.Running})
}

func TestJournalKeepsABuildOverAReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Append(t.Context(), queued("b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), started("b"), ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: "b/j", Status: ci.Queued})); err != nil {
		t.Fatal(err)
	}
	b, events, err := open(t, dir).Load(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if b.Status != ci.Running || len(b.Jobs) != 1 || len(events) != 3 {
		t.Errorf("got status %s, %d jobs, %d events; want running, 1, 3", b.Status, len(b.Jobs), len(events))
	}
}

func TestJournalRefusesWhatTheStateDoesNotPermitAndKeepsNothingOfIt(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := s.Append(t.Context(), queued("b")); err != nil {
		t.Fatal(err)
	}
	// The first event of the pair would be fine: neither may be kept.
	err := s.Append(t.Context(), started("b"), queued("b"))
	if !errors.Is(err, ci.ErrConflict) {
		t.Fatalf("got %v, want ErrConflict", err)
	}
	b, events, err := s.Load(t.Context(), "b")
	if err != nil || b.Status != ci.Queued || len(events) != 1 {
		t.Errorf("got %s with %d events, %v; want queued with 1", b.Status, len(events), err)
	}
	if err := s.Append(t.Context(), started("nobody")); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("an event of an unknown build: got %v, want ErrNotFound", err)
	}
}

// A process killed in the middle of a write leaves part of a line. Whatever the
// part, the build is as it was before, and the next write is whole.
func TestJournalCutsATornWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := open(t, dir).Append(t.Context(), queued("b")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "b.events")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Append(t.Context(), started("b")); err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut < len(both); cut++ {
		if err := os.WriteFile(path, both[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		if b, _, err := s.Load(t.Context(), "b"); err != nil || b.Status != ci.Queued {
			t.Fatalf("cut at %d: got %s, %v; want queued", cut, b.Status, err)
		}
		if err := s.Append(t.Context(), started("b")); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(both) {
			t.Fatalf("cut at %d: the journal is not what it would have been", cut)
		}
		_ = s.Close()
	}
}

func TestOpenListsWhatIsNotDone(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, id := range []ci.BuildID{"a", "b", "c"} {
		if err := s.Append(t.Context(), queued(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Append(t.Context(), ci.NewEvent(ci.EventBuildFinished, ci.Build{ID: "b", Status: ci.Failed})); err != nil {
		t.Fatal(err)
	}
	open, err := s.Open(t.Context())
	if err != nil || len(open) != 2 || open[0].ID != "a" || open[1].ID != "c" {
		t.Errorf("got %v, %v; want a and c", open, err)
	}
}
