package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// sequel stores what comes of a build's transition, in the same transaction.
func (t *tx) sequel(b ci.Build, before ci.Status) error {
	var kind ci.SequelKind
	switch {
	case b.Status == before:
		return nil
	case b.Status == ci.Running && before == ci.Queued && b.Limits.Supersede != ci.SupersedeNone:
		kind = ci.SequelSupersede
	case (b.Status == ci.Failed || b.Status == ci.Errored) && b.Attempt < b.Limits.AutoRetry:
		kind = ci.SequelRetry
	case b.Status == ci.Succeeded:
		n, err := t.exec("INSERT INTO sequels (build, kind, project) SELECT $1, $2, project FROM upstreams WHERE upstream = $3 ORDER BY project",
			string(b.ID), string(ci.SequelAfter), plain(b.Project))
		if n > 0 {
			t.sequels++
		}
		return err
	default:
		return nil
	}
	t.sequels++
	_, err := t.exec("INSERT INTO sequels (build, kind, project) VALUES ($1, $2, '')", string(b.ID), string(kind))
	return err
}

// room refuses a build that its project has none for, if it is one that refuses.
func (t *tx) room(b ci.Build) error {
	if b.Limits.WhenFull != ci.WhenFullRefuse || b.Limits.Builds == 0 {
		return nil
	}
	var n int
	_, err := t.row([]any{&n}, "SELECT count(*) FROM builds WHERE project = $1 AND status IN ('queued', 'running', 'waiting')", plain(b.Project))
	if err == nil && n >= b.Limits.Builds {
		err = &ci.NoRoom{Project: b.Project, Builds: b.Limits.Builds}
	}
	return err
}

// SequelsNoted counts what this process has noted: while it stays the same, there
// is nothing new for Sequels to give.
func (db *DB) SequelsNoted() int64 { return db.sequels.Load() }

// Sequels lists what has come of builds and was not done yet, oldest first.
func (db *DB) Sequels(ctx context.Context) (list []ci.Sequel, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var s ci.Sequel
		err := r.Scan(&s.ID, &s.Build, &s.Kind, &s.Project)
		list = append(list, s)
		return err
	}, "SELECT id, build, kind, project FROM sequels ORDER BY id LIMIT $1", maxPage)
	if err != nil {
		return nil, fmt.Errorf("list what has come of builds: %w", err)
	}
	return list, nil
}

// SequelDone forgets one that is done.
func (db *DB) SequelDone(ctx context.Context, id int64) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM sequels WHERE id = $1", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget what has come of a build: %w", err)
	}
	return nil
}

// BuildByKey finds the build that was made under a key; ci.ErrNotFound when there
// is none.
func (db *DB) BuildByKey(ctx context.Context, project, key string) (ci.Build, error) {
	b, err := records[ci.Build](ctx, db, nil, "SELECT record FROM builds WHERE project = $1 AND key = $2 AND key <> ''", plain(project), plain(key))
	if err == nil && len(b) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Build{}, fmt.Errorf("build of project %q under key %q: %w", project, key, err)
	}
	return b[0], nil
}

// follow writes down which projects p is built after. A project that would be
// built after itself in the end is ci.ErrInvalid.
func (t *tx) follow(p ci.Project) error {
	if _, err := t.exec("DELETE FROM upstreams WHERE project = $1", p.Name); err != nil {
		return err
	}
	for _, up := range p.After {
		if path, err := t.wayTo(p.Name, up); err != nil {
			return err
		} else if path != nil {
			return fmt.Errorf("it would be built after itself: %s: %w", strings.Join(append(path, p.Name), " after "), ci.ErrInvalid)
		}
	}
	for _, up := range p.After {
		if _, err := t.exec("INSERT INTO upstreams (project, upstream) VALUES ($1, $2) ON CONFLICT (project, upstream) DO NOTHING", p.Name, plain(up)); err != nil {
			return err
		}
	}
	return nil
}

// wayTo finds the projects over which from is built after to; nil = it is not.
func (t *tx) wayTo(to, from string) ([]string, error) {
	came := map[string]string{from: ""}
	for todo := []string{from}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		if at == to {
			var path []string
			for ; at != ""; at = came[at] {
				path = append(path, at)
			}
			slices.Reverse(path[1:])
			return path, nil
		}
		err := t.rows(func(r *sql.Rows) error {
			var up string
			if err := r.Scan(&up); err != nil {
				return err
			}
			if _, seen := came[up]; !seen {
				came[up] = at
				todo = append(todo, up)
			}
			return nil
		}, "SELECT upstream FROM upstreams WHERE project = $1 ORDER BY upstream", at)
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// followers are the projects that are built after one.
func (t *tx) followers(name string) (list []string, err error) {
	err = t.rows(func(r *sql.Rows) error {
		var project string
		err := r.Scan(&project)
		list = append(list, project)
		return err
	}, "SELECT project FROM upstreams WHERE upstream = $1 ORDER BY project LIMIT 5", plain(name))
	return list, err
}
