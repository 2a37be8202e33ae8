package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// listed is what a list shows of a build: no jobs, no plan, nothing long.
func listed(b ci.Build) ci.Build {
	b.Jobs, b.Plan, b.Problems, b.Variables = nil, nil, nil, nil
	return b
}

// ref is the branch or tag that a list shows and filters by: what was found, or,
// before that, what was asked for.
func ref(b ci.Build) string {
	if b.Commit.Ref != "" {
		return b.Commit.Ref
	}
	return b.Source.Version
}

// Create stores a new build, queued, and gives it the next number of its
// project unless it has one. When its ID, or key where that is not "", was used
// in this project before, nothing is stored: the earlier build, as Builds lists
// it, is the answer, and made is false. A project that was deleted is
// ci.ErrNotFound; whether there ever was one is not looked at. When a budget is used
// up, nothing is stored either: *ci.OverBudget.
func (db *DB) Create(ctx context.Context, b ci.Build, key string) (got ci.Build, made bool, err error) {
	if b.Status == "" {
		b.Status = ci.Queued
	}
	if b.ID == "" || b.Status != ci.Queued || plain(b.Project) != b.Project || plain(key) != key || b.Number < 0 {
		return ci.Build{}, false, fmt.Errorf("create build %q of project %q: want an ID, status queued and text in UTF-8: %w", b.ID, b.Project, ci.ErrInvalid)
	}
	err = db.write(ctx, func(t *tx) error {
		got, made = b, false
		earlier, err := t.earlier(b, key)
		if err != nil {
			return err
		}
		if earlier != nil {
			got = *earlier
			return nil
		}
		if err := t.afford(b.Project); err != nil {
			return err
		}
		if err := t.room(b); err != nil {
			return err
		}
		if got.Number, err = t.number(b); err != nil {
			return err
		}
		if b.Node != "" && b.Limits.Builds > 0 { // only who has all of them can count them
			if holder, err := t.holder(b, ""); err != nil {
				return err
			} else if holder != "" {
				got.Node = holder
			}
		}
		e := ci.NewEvent(ci.EventBuildQueued, got)
		e.Seq, e.Time = 1, b.Queued
		if err := t.insertBuild(got, key); err != nil {
			return err
		}
		if err := t.insertEvents([]ci.Event{e}); err != nil {
			return err
		}
		if err := t.needUpload(got); err != nil {
			return err
		}
		t.remember(b.ID, &fold{build: ci.Build{ID: b.ID, Status: b.Status}, seq: 1})
		made, t.made = true, &got
		return nil
	})
	if err != nil {
		return ci.Build{}, false, fmt.Errorf("create build of project %q: %w", b.Project, err)
	}
	return got, made, nil
}

// earlier finds the build that was made for the same ID or key.
func (t *tx) earlier(b ci.Build, key string) (*ci.Build, error) {
	var project, record string
	found, err := t.row([]any{&project, &record},
		`SELECT project, record FROM builds WHERE id = $1
		UNION ALL SELECT project, record FROM builds WHERE project = $2 AND key = $3 AND key <> ''`, string(b.ID), b.Project, key)
	if err != nil || !found {
		return nil, err
	}
	if project != b.Project {
		return nil, fmt.Errorf("build %s is of another project: %w", b.ID, ci.ErrConflict)
	}
	var earlier ci.Build
	if err := json.Unmarshal([]byte(record), &earlier); err != nil {
		return nil, fmt.Errorf("record of build: %w", err)
	}
	return &earlier, nil
}

// number gives the build its number, or notes the one that it has.
func (t *tx) number(b ci.Build) (n int64, err error) {
	next := "counters.last + 1"
	first := int64(1)
	if b.Number > 0 {
		taken, err := t.row([]any{new(int64)}, "SELECT number FROM builds WHERE project = $1 AND number = $2 AND number > 0", b.Project, b.Number)
		if err != nil {
			return 0, err
		}
		if taken {
			return 0, fmt.Errorf("number %d is taken: %w", b.Number, ci.ErrConflict)
		}
		first = b.Number
		next = "CASE WHEN counters.last < excluded.last THEN excluded.last ELSE counters.last END"
	}
	// What was deleted stays as it is: no row comes back.
	before := t.writes
	found, err := t.returning([]any{&n}, `INSERT INTO counters (project, last, deleted) VALUES ($1, $2, 0)
		ON CONFLICT (project) DO UPDATE SET last = `+next+` WHERE counters.deleted = 0 RETURNING last`, b.Project, first)
	if err == nil && !found {
		t.writes = before
		err = fmt.Errorf("the project was deleted: %w", ci.ErrNotFound)
	}
	if b.Number > 0 {
		n = b.Number
	}
	return n, err
}

func (t *tx) insertBuild(b ci.Build, key string) error {
	record, err := json.Marshal(listed(b))
	if err != nil {
		return fmt.Errorf("encode build %s: %w", b.ID, err)
	}
	_, err = t.exec(`INSERT INTO builds (id, project, number, status, queued, started, ended, ref, commit_id, initiator, key, node, record)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		string(b.ID), plain(b.Project), b.Number, string(b.Status), nanos(b.Queued), nanos(b.Started), nanos(b.Ended),
		plain(ref(b)), plain(b.Commit.Hash), plain(b.Initiator), key, plain(b.Node), string(record))
	return err
}

// updateBuild brings the row up to date, if it still is as the transition found it.
func (t *tx) updateBuild(b ci.Build, before ci.Status) error {
	record, err := json.Marshal(listed(b))
	if err != nil {
		return fmt.Errorf("encode build %s: %w", b.ID, err)
	}
	n, err := t.exec(`UPDATE builds SET status = $1, started = $2, ended = $3, ref = $4, commit_id = $5, node = $6, record = $7
		WHERE id = $8 AND status = $9`,
		string(b.Status), nanos(b.Started), nanos(b.Ended), plain(ref(b)), plain(b.Commit.Hash), plain(b.Node), string(record), string(b.ID), string(before))
	if err == nil && n != 1 {
		err = fmt.Errorf("build %s is no longer %s: %w: %w", b.ID, before, errStale, ci.ErrConflict)
	}
	return err
}

// DeleteBuild removes a build that is done, and its events. Its number stays used.
func (db *DB) DeleteBuild(ctx context.Context, id ci.BuildID) error {
	err := db.write(ctx, func(t *tx) error {
		var status ci.Status
		found, err := t.row([]any{&status}, "SELECT status FROM builds WHERE id = $1", string(id))
		switch {
		case err != nil:
			return err
		case !found:
			return ci.ErrNotFound
		case !status.Done():
			return fmt.Errorf("it is %s; stop it first: %w", status, ci.ErrConflict)
		}
		return t.dropBuild(id)
	})
	if err != nil {
		return fmt.Errorf("delete build %s: %w", id, err)
	}
	return nil
}
