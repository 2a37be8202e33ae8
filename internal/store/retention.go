package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Aged is a build of which something may go.
type Aged struct {
	ID     ci.BuildID
	Number int64
	Queued time.Time
	row    int64
}

// Overdue chooses builds of a project that are beyond what is kept.
type Overdue struct {
	Project string
	Part    string    // of a build: ci.PartBuild and the like
	Keep    int       // the newest so many stay; 0 = all do, as far as that goes
	Before  time.Time // those queued before go; zero = none
	Limit   int       // at most so many
	After   *Aged     // goes on behind that one
}

// Overdue lists such builds, the oldest first: done, not of a tag, not the newest
// one that succeeded, nothing still to come of them, and the part still there.
func (db *DB) Overdue(ctx context.Context, o Overdue) ([]Aged, error) {
	list, err := db.overdue(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("builds of project %q that are no longer kept: %w", o.Project, err)
	}
	return list, nil
}

func (db *DB) overdue(ctx context.Context, o Overdue) (list []Aged, err error) {
	bound := "queued < $2"
	args := []any{plain(o.Project), nanos(o.Before)}
	if o.Keep > 0 {
		var queued, row int64
		found := false
		err := db.query(ctx, func(r *sql.Rows) error {
			found = true
			return r.Scan(&queued, &row)
		}, "SELECT queued, row FROM builds WHERE project = $1 ORDER BY queued DESC, row DESC LIMIT 1 OFFSET $2", plain(o.Project), o.Keep-1)
		if err != nil {
			return nil, err
		}
		if found {
			bound = "(queued < $2 OR (queued, row) < ($3, $4))"
			args = append(args, queued, row)
		}
	}
	if o.Before.IsZero() && len(args) == 2 {
		return nil, nil
	}
	param := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	text := "SELECT id, number, queued, row FROM builds b WHERE project = $1 AND " + bound
	if o.After != nil {
		text += " AND (queued, row) > (" + param(nanos(o.After.Queued)) + ", " + param(o.After.row) + ")"
	}
	text += ` AND status NOT IN ('queued', 'running', 'waiting') AND NOT (ref >= 'refs/tags/' AND ref < 'refs/tags0')
		AND id NOT IN (SELECT id FROM (SELECT id FROM builds WHERE project = $1 AND status = 'succeeded' ORDER BY queued DESC, row DESC LIMIT 1) AS newest)
		AND NOT EXISTS (SELECT 1 FROM sequels s WHERE s.build = b.id)`
	if o.Part != ci.PartBuild {
		text += " AND NOT EXISTS (SELECT 1 FROM expired x WHERE x.build = b.id AND x.what = " + param(o.Part) + ")"
	}
	text += " ORDER BY queued, row LIMIT " + param(o.Limit)
	err = db.query(ctx, func(r *sql.Rows) error {
		var a Aged
		var queued int64
		err := r.Scan(&a.ID, &a.Number, &queued, &a.row)
		a.Queued = moment(queued)
		list = append(list, a)
		return err
	}, text, args...)
	return list, err
}

// Expire removes a part of builds that are done, the whole with ci.PartBuild, and
// says of which. Those that are no longer there, or run, are passed over. What
// lies outside the database is then in Discards.
func (db *DB) Expire(ctx context.Context, part string, ids []ci.BuildID) (gone []ci.BuildID, err error) {
	err = db.write(ctx, func(t *tx) error {
		gone = nil
		for _, id := range ids {
			var status ci.Status
			found, err := t.row([]any{&status}, "SELECT status FROM builds WHERE id = $1", string(id))
			if err != nil {
				return err
			}
			if !found || !status.Done() {
				continue
			}
			if err := t.expire(part, id); err != nil {
				return err
			}
			gone = append(gone, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("remove %s of %d builds: %w", part, len(ids), err)
	}
	return gone, nil
}

func (t *tx) expire(part string, id ci.BuildID) error {
	if part == ci.PartBuild {
		return t.dropBuild(id)
	}
	if _, err := t.exec("INSERT INTO expired (build, what, time) VALUES ($1, $2, $3) ON CONFLICT (build, what) DO NOTHING", string(id), part, nanos(t.w.db.opt.Now())); err != nil {
		return err
	}
	return t.discard(part, id)
}

// discard notes that a part of a build is to be removed outside the database.
func (t *tx) discard(part string, id ci.BuildID) error {
	_, err := t.exec("INSERT INTO discards (build, what) VALUES ($1, $2) ON CONFLICT (build, what) DO NOTHING", string(id), part)
	return err
}

// Expired says which parts of a build were removed, and when.
func (db *DB) Expired(ctx context.Context, id ci.BuildID) (parts map[string]time.Time, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var part string
		var at int64
		if err := r.Scan(&part, &at); err != nil {
			return err
		}
		if parts == nil {
			parts = map[string]time.Time{}
		}
		parts[part] = moment(at)
		return nil
	}, "SELECT what, time FROM expired WHERE build = $1", string(id))
	if err != nil {
		return nil, fmt.Errorf("parts of build %s: %w", id, err)
	}
	return parts, nil
}

// Discard is a part of a build that is to be removed outside the database.
type Discard struct {
	Build ci.BuildID
	Part  string
}

// Discards lists some of what is to be removed outside the database.
func (db *DB) Discards(ctx context.Context, limit int) (list []Discard, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var d Discard
		err := r.Scan(&d.Build, &d.Part)
		list = append(list, d)
		return err
	}, "SELECT build, what FROM discards ORDER BY build, what LIMIT $1", limit)
	if err != nil {
		return nil, fmt.Errorf("what is left of builds: %w", err)
	}
	return list, nil
}

// Discarded notes that they were removed.
func (db *DB) Discarded(ctx context.Context, all ...Discard) error {
	err := db.write(ctx, func(t *tx) error {
		for _, d := range all {
			if _, err := t.exec("DELETE FROM discards WHERE build = $1 AND what = $2", string(d.Build), d.Part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note what was removed of builds: %w", err)
	}
	return nil
}
