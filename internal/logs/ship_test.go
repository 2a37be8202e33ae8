package logs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
)

// away is a store of blobs that can be out of reach.
type away struct {
	ci.Blobs
	gone bool
}

func (b *away) Put(ctx context.Context, key string, r io.Reader) (ci.Blob, error) {
	if b.gone {
		return ci.Blob{}, ci.ErrUnavailable
	}
	return b.Blobs.Put(ctx, key, r)
}

// TestLogsOfOtherServers writes logs on one server and reads them on another.
func TestLogsOfOtherServers(t *testing.T) {
	t.Parallel()
	dir, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blobs := &away{Blobs: dir}
	now := time.Now()
	server := func() *Store {
		s, err := Open(t.TempDir(), Options{Blobs: blobs, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	first, second := server(), server()
	text := func(s *Store, name ci.StepID) string {
		t.Helper()
		r, err := s.Open(t.Context(), name, 0)
		if err != nil {
			return err.Error()
		}
		defer r.Close()
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	emit := func(name ci.StepID, text string) {
		t.Helper()
		w, err := first.Append(t.Context(), name, nil)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err == nil {
			err = errors.Join(w.Close(), first.Seal(t.Context(), name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	big := strings.Repeat("a line of a log\n", 100_000)
	for name, want := range map[ci.StepID]string{"b/build/BUILD/0": "small\n", "b/build/BUILD/1": big, "b/build#2/BUILD~2/0": "of another attempt"} {
		emit(name, want)
		if got := text(second, name); got != want {
			t.Errorf("%s on another server: %.60q (%d bytes), want %.60q", name, got, len(got), want)
		}
		here, err1 := first.Stat(name)
		there, err2 := second.Stat(name)
		if err1 != nil || err2 != nil || !here.Updated.Equal(there.Updated) || here.Size != there.Size || here.Lines != there.Lines || !there.Sealed {
			t.Errorf("%s: %+v here, %+v there (%v, %v)", name, here, there, err1, err2)
		}
	}
	if at, err := second.LineStart(t.Context(), "b/build/BUILD/1", 50_000); err != nil || at != 50_000*16 {
		t.Errorf("line 50,000 begins at %d, %v", at, err)
	}
	if _, err := second.Stat("b/build/BUILD/9"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("a log that there is not: %v, want ErrNotFound", err)
	}

	// The blobs are out of reach: the step ends all the same, and Ship makes up for it.
	blobs.gone = true
	emit("c/build/BUILD/0", "later\n")
	if err := first.Ship(t.Context()); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("ship: %v, want ErrUnavailable", err)
	}
	if _, err := second.Stat("c/build/BUILD/0"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("not shipped yet: %v", err)
	}
	blobs.gone = false
	if err := first.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := text(second, "c/build/BUILD/0"); got != "later\n" {
		t.Errorf("shipped later: %q", got)
	}
	if left, _ := os.ReadDir(filepath.Join(first.dir, unshippedDir)); len(left) != 0 {
		t.Errorf("%d marks are left", len(left))
	}

	// Killed between the mark and the seal, the next process seals and ships.
	if err := first.markIn(unshippedDir, "d/build/BUILD/0"); err != nil {
		t.Fatal(err)
	}
	if err := first.Ship(t.Context()); err != nil {
		t.Errorf("a mark without a log: %v", err)
	}

	// What was fetched goes after a day, and comes again.
	now = now.Add(25 * time.Hour)
	if err := second.Ship(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(second.dir, fetchedDir)); len(left) != 0 {
		t.Errorf("%d builds that were fetched are left", len(left))
	}
	if got := text(second, "b/build/BUILD/0"); got != "small\n" {
		t.Errorf("fetched again: %q", got)
	}

	// Damage is an error, never another text.
	if _, err := dir.Put(t.Context(), ci.StepID("e/build/BUILD/0").LogBlob(), strings.NewReader("no log at all, but long enough for a head")); err != nil {
		t.Fatal(err)
	}
	if got := text(second, "e/build/BUILD/0"); !strings.Contains(got, "not in the form of logs") {
		t.Errorf("a blob that is no log: %q", got)
	}
}
