package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Lease gives the job to owner until a time from now, or renews it. While
// another has it the answer is ci.ErrConflict; when that one's time is over it
// is taken. An owner that keeps its name over a restart so has its own jobs back
// at once. Time is the database's own, so that replicas need not agree on one.
func (db *DB) Lease(ctx context.Context, job ci.JobID, owner string, length time.Duration) error {
	err := db.write(ctx, func(t *tx) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		var holder string
		var until int64
		found, err := t.row([]any{&holder, &until}, "SELECT owner, until FROM leases WHERE job = $1", string(job))
		if err != nil {
			return err
		}
		if found && holder != owner && until > now {
			return fmt.Errorf("%s has it for another %s: %w", holder, time.Duration(until-now).Round(time.Millisecond), ci.ErrConflict)
		}
		_, err = t.exec("INSERT INTO leases (job, owner, until) VALUES ($1, $2, $3) ON CONFLICT (job) DO UPDATE SET owner = excluded.owner, until = excluded.until",
			string(job), owner, now+int64(length))
		return err
	})
	if err != nil {
		return fmt.Errorf("lease job %s: %w", job, err)
	}
	return nil
}

// Release ends a lease, if it is owner's. Ending none is fine.
func (db *DB) Release(ctx context.Context, job ci.JobID, owner string) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM leases WHERE job = $1 AND owner = $2", string(job), owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("release job %s: %w", job, err)
	}
	return nil
}

// Leased is who has a job, or had it last. Left is 0 when the time is over.
type Leased struct {
	Job   ci.JobID
	Owner string
	Left  time.Duration
}

// Leases lists all leases, those whose time is over too.
func (db *DB) Leases(ctx context.Context) ([]Leased, error) {
	now := int64(0)
	text := "SELECT job, owner, until, " + db.dialect.clock() + " FROM leases ORDER BY job"
	if db.dialect.clock() == "0" {
		now = nanos(db.opt.Now())
	}
	var list []Leased
	err := db.query(ctx, func(r *sql.Rows) error {
		var l Leased
		var until, clock int64
		err := r.Scan(&l.Job, &l.Owner, &until, &clock)
		l.Left = max(0, time.Duration(until-max(now, clock)))
		list = append(list, l)
		return err
	}, text)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return list, nil
}

// now is the time by the clock that all writers share.
func (t *tx) now() (n int64, err error) {
	clock := t.w.db.dialect.clock()
	if clock == "0" {
		return nanos(t.w.db.opt.Now()), nil
	}
	_, err = t.row([]any{&n}, "SELECT "+clock)
	return n, err
}
