package local

import (
	"os"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestTornRecord cuts the record at every byte, as a crash while writing would.
func TestTornRecord(t *testing.T) {
	t.Parallel()
	f := folderOf(t.TempDir(), "b/job")
	if err := os.Mkdir(f.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	var ends []int
	for _, job := range []ci.JobID{"first", "second"} {
		if err := f.write(&record{Job: job}); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.path("sandbox.json"))
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(data))
	}
	data, err := os.ReadFile(f.path("sandbox.json"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(data) + 1 {
		if err := os.WriteFile(f.path("sandbox.json"), data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		rec, err := f.read()
		switch {
		case n < ends[0] && err == nil:
			t.Errorf("%d bytes: %+v, want an error", n, rec)
		case n >= ends[0] && n < ends[1] && (err != nil || rec.Job != "first"):
			t.Errorf("%d bytes: %+v, %v; want the first", n, rec, err)
		case n == ends[1] && (err != nil || rec.Job != "second"):
			t.Errorf("whole: %+v, %v; want the second", rec, err)
		}
	}
}

// TestSweepRemovesStaleLocks: one who is killed between the removal of a sandbox
// and that of its lock leaves a file, which nobody would look at again.
func TestSweepRemovesStaleLocks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e := New(Config{Root: root})
	stale, held := folderOf(root, "b/stale"), folderOf(root, "b/held")
	if err := os.WriteFile(stale.path()+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, ok, err := held.tryLock() // somebody makes this one
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer unlock()
	if err := e.Sweep(t.Context(), func(ci.JobID) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(stale.path() + ".lock"); !os.IsNotExist(err) {
		t.Errorf("the lock of nobody: %v, want it gone", err)
	}
	if _, err := os.Lstat(held.path() + ".lock"); err != nil {
		t.Errorf("the lock that is held: %v", err)
	}
}
