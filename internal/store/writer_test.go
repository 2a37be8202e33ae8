package store

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Of requests that go into one transaction, each gets its own answer, and what
// is stored is what was answered: one that fails after it has written costs the
// others a second turn and nothing else.
func TestOneRequestDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	insert := func(tx *tx, name string) error {
		_, err := tx.exec("INSERT INTO counters (project, last, deleted) VALUES ($1, 1, 0)", name)
		return err
	}
	bad := errors.New("changed my mind")
	requests := []struct {
		name string
		do   func(*tx) error
		want error
	}{
		{"first", func(tx *tx) error { return insert(tx, "first") }, nil},
		{"refused", func(*tx) error { return ci.ErrDenied }, ci.ErrDenied},
		{"written, then refused", func(tx *tx) error { return errors.Join(insert(tx, "mind"), bad) }, bad},
		{"twice the same", func(tx *tx) error { return insert(tx, "taken") }, ci.ErrConflict},
		{"no such table", func(tx *tx) error { _, err := tx.exec("INSERT INTO nowhere (x) VALUES (1)"); return err }, nil},
		{"hidden failure", func(tx *tx) error { _ = insert(tx, "taken"); return nil }, ci.ErrConflict},
		{"last", func(tx *tx) error { return insert(tx, "last") }, nil},
	}
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone %v", alone), func(t *testing.T) {
			t.Parallel()
			db, err := OpenDB(t.Context(), filepath.Join(t.TempDir(), "db"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if err := db.write(t.Context(), func(tx *tx) error { return insert(tx, "taken") }); err != nil {
				t.Fatal(err)
			}
			// The writer is held until all are in its queue, so that they make one group.
			hold := make(chan struct{})
			var wg sync.WaitGroup
			if !alone {
				began := make(chan struct{})
				wg.Go(func() {
					_ = db.write(t.Context(), func(*tx) error { close(began); <-hold; return nil })
				})
				<-began
			}
			runs := make([]int, len(requests))
			errs := make([]error, len(requests))
			for i, r := range requests {
				do := func(tx *tx) error { runs[i]++; return r.do(tx) }
				if alone {
					errs[i] = db.write(t.Context(), do)
					continue
				}
				wg.Go(func() { errs[i] = db.write(t.Context(), do) })
				for len(db.queue) <= i {
					runtime.Gosched()
				}
			}
			close(hold)
			wg.Wait()
			for i, r := range requests {
				broken := r.name == "no such table"
				if broken && errs[i] == nil || !broken && !errors.Is(errs[i], r.want) {
					t.Errorf("%s: got %v, want %v", r.name, errs[i], r.want)
				}
			}
			if !alone && runs[0] != 2 {
				t.Errorf("the first ran %d times, want once with the others and once alone", runs[0])
			}
			var stored []string
			err = db.query(t.Context(), func(r *sql.Rows) error {
				stored = append(stored, "")
				return r.Scan(&stored[len(stored)-1])
			}, "SELECT project FROM counters ORDER BY project")
			if got := fmt.Sprint(stored); err != nil || got != "[first last taken]" {
				t.Errorf("stored: %s, %v; want first, last and taken", got, err)
			}
		})
	}
}
