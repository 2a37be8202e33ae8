package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

const selectTargets = "SELECT record, id, project, name, seen, sealed FROM targets "

func targetColumns(t *ci.Target) []any {
	return []any{&t.ID, &t.Project, &t.Name, &t.Seen, &t.Sealed}
}

func (db *DB) targets(ctx context.Context, text string, args ...any) ([]ci.Target, error) {
	list, err := records(ctx, db, targetColumns, selectTargets+text, args...)
	for i := range list {
		list[i].HasSecret = list[i].Sealed != ""
	}
	return list, err
}

// Targets lists the targets of a project by name; of "" those of all projects.
func (db *DB) Targets(ctx context.Context, project string) ([]ci.Target, error) {
	list, err := db.targets(ctx, "WHERE project = $1 ORDER BY name", plain(project))
	if err != nil {
		return nil, fmt.Errorf("list targets: %w", err)
	}
	return list, nil
}

// AllTargets lists the targets of everybody.
func (db *DB) AllTargets(ctx context.Context) ([]ci.Target, error) {
	list, err := db.targets(ctx, "ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("list targets: %w", err)
	}
	return list, nil
}

// Target reads a target; one that is not there is ci.ErrNotFound.
func (db *DB) Target(ctx context.Context, project, name string) (ci.Target, error) {
	list, err := db.targets(ctx, "WHERE project = $1 AND name = $2", plain(project), plain(name))
	if err == nil && len(list) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Target{}, fmt.Errorf("target %.100q: %w", name, err)
	}
	return list[0], nil
}

// PutTarget stores a target, new or changed. sealed is its secret; nil keeps the
// one that it has. A new one is told of what happens from now on. Its project
// must be there (ci.ErrNotFound).
func (db *DB) PutTarget(ctx context.Context, put ci.Target, sealed *string) (t ci.Target, made bool, err error) {
	if put.Name == "" || plain(put.Name+put.Project) != put.Name+put.Project {
		return ci.Target{}, false, fmt.Errorf("target %q: want a name in UTF-8: %w", put.Name, ci.ErrInvalid)
	}
	err = db.write(ctx, func(x *tx) error {
		t = put
		var record string
		if t.Project != "" {
			found, err := x.row([]any{new(string)}, "SELECT name FROM projects WHERE name = $1", t.Project)
			if err == nil && !found {
				err = fmt.Errorf("project %q: %w", t.Project, ci.ErrNotFound)
			}
			if err != nil {
				return err
			}
		}
		found, err := x.row([]any{&record, &t.Seen, &t.Sealed}, "SELECT record, seen, sealed FROM targets WHERE project = $1 AND name = $2", t.Project, t.Name)
		if err != nil {
			return err
		}
		made = !found
		t.Updated = moment(nanos(db.opt.Now()))
		t.Created = t.Updated
		if found {
			var old ci.Target
			if err := json.Unmarshal([]byte(record), &old); err != nil {
				return fmt.Errorf("record: %w", err)
			}
			t.Created = old.Created
		} else if _, err := x.row([]any{&t.Seen}, "SELECT COALESCE(MAX(id), 0) FROM events"); err != nil {
			return err
		}
		if sealed != nil {
			t.Sealed = *sealed
		}
		t.HasSecret = false // the column says it
		text, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		_, err = x.returning([]any{&t.ID}, `INSERT INTO targets (project, name, seen, sealed, record) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (project, name) DO UPDATE SET sealed = excluded.sealed, record = excluded.record RETURNING id`,
			t.Project, t.Name, t.Seen, t.Sealed, string(text))
		t.HasSecret = t.Sealed != ""
		return err
	})
	if err != nil {
		return ci.Target{}, false, fmt.Errorf("store target %q: %w", put.Name, err)
	}
	return t, made, nil
}

// DeleteTarget removes a target with what is on its way to it.
func (db *DB) DeleteTarget(ctx context.Context, project, name string) error {
	err := db.write(ctx, func(t *tx) error {
		found, err := t.row([]any{new(int64)}, "SELECT id FROM targets WHERE project = $1 AND name = $2", plain(project), plain(name))
		if err != nil {
			return err
		}
		if !found {
			return ci.ErrNotFound
		}
		return t.deleteTargets("project = $1 AND name = $2", project, name)
	})
	if err != nil {
		return fmt.Errorf("delete target %.100q: %w", name, err)
	}
	return nil
}

func (t *tx) deleteTargets(where string, args ...any) error {
	if _, err := t.exec("DELETE FROM deliveries WHERE target IN (SELECT id FROM targets WHERE "+where+")", args...); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM targets WHERE "+where, args...)
	return err
}

// Happened is Events, in short: only those of the types, and how far was looked.
// The cursor upTo is where to go on, even when there were none.
func (db *DB) Happened(ctx context.Context, after int64, limit int, types ...ci.EventType) (list []ci.Stamped, upTo int64, err error) {
	upTo = after
	if len(types) == 0 {
		return nil, upTo, nil
	}
	// The end is read first: an event that commits in between is beyond it.
	err = db.query(ctx, func(r *sql.Rows) error { return r.Scan(&upTo) }, "SELECT COALESCE(MAX(id), 0) FROM events")
	if err != nil {
		return nil, after, fmt.Errorf("read events after %d: %w", after, err)
	}
	if upTo <= after {
		return nil, after, nil // what was deleted since does not turn a reader back
	}
	args := []any{after, upTo, limit}
	for _, t := range types {
		args = append(args, string(t))
	}
	err = db.query(ctx, func(r *sql.Rows) error {
		s, err := scanStamped(r)
		list = append(list, s)
		return err
	}, selectStamped+"WHERE id > $1 AND id <= $2 AND type IN "+
		tuplesFrom(4, 1, len(types))+" ORDER BY id LIMIT $3", args...)
	if err != nil {
		return nil, after, fmt.Errorf("read events after %d: %w", after, err)
	}
	if len(list) == limit {
		upTo = list[limit-1].Cursor
	}
	return list, upTo, nil
}

// Listed is a build as lists show it.
func (db *DB) Listed(ctx context.Context, id ci.BuildID) (ci.Build, error) {
	list, err := records[ci.Build](ctx, db, nil, "SELECT record FROM builds WHERE id = $1", string(id))
	if err == nil && len(list) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Build{}, fmt.Errorf("build %s: %w", id, err)
	}
	return list[0], nil
}

// Before is how the build before b on the same branch ended; "" when there is
// none. Builds that were canceled or skipped say nothing of a branch.
func (db *DB) Before(ctx context.Context, b ci.Build) (ci.Status, error) {
	var before ci.Status
	err := db.query(ctx, func(r *sql.Rows) error { return r.Scan(&before) },
		`SELECT status FROM builds WHERE project = $1 AND ref = $2 AND queued <= $3 AND number < $4
		AND status IN ('succeeded', 'unstable', 'failed', 'errored', 'timed_out') ORDER BY queued DESC, row DESC LIMIT 1`,
		plain(b.Project), plain(ref(b)), nanos(b.Queued), b.Number)
	if err != nil {
		return "", fmt.Errorf("build before %s/%d: %w", b.Project, b.Number, err)
	}
	return before, nil
}
