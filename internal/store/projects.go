package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// PutProject stores a project, if its Revision is that of the stored one; 0 makes
// a new one. Another revision is ci.ErrConflict: somebody else changed it. The
// answer has the new revision and the times.
func (db *DB) PutProject(ctx context.Context, p ci.Project) (ci.Project, error) {
	if err := ci.CheckProjectName(p.Name); err != nil {
		return ci.Project{}, err
	}
	var put ci.Project
	err := db.write(ctx, func(t *tx) error {
		put = p
		var revision, created int64
		found, err := t.row([]any{&revision, &created}, "SELECT revision, created FROM projects WHERE name = $1", p.Name)
		switch {
		case err != nil:
			return err
		case !found && p.Revision != 0:
			return ci.ErrNotFound
		case found && p.Revision == 0:
			return fmt.Errorf("there is one of that name: %w", ci.ErrConflict)
		case found && p.Revision != revision:
			return fmt.Errorf("revision %d was changed meanwhile and is now %d; get it again and repeat the change: %w", p.Revision, revision, ci.ErrConflict)
		case !found:
			if err := t.welcome(p.Name); err != nil {
				return err
			}
		}
		put.Revision = revision + 1
		put.Updated = moment(nanos(db.opt.Now()))
		put.Created = put.Updated
		if found {
			put.Created = moment(created)
		}
		record, err := json.Marshal(put)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		_, err = t.exec(`INSERT INTO projects (name, revision, created, updated, record) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, updated = excluded.updated, record = excluded.record`,
			put.Name, put.Revision, nanos(put.Created), nanos(put.Updated), string(record))
		if err == nil {
			err = t.follow(put)
		}
		return err
	})
	if err != nil {
		return ci.Project{}, fmt.Errorf("store project %q: %w", p.Name, err)
	}
	return put, nil
}

// welcome lets a project of that name have builds again, once those of the last
// one are gone. Numbers go on where that one's ended.
func (t *tx) welcome(name string) error {
	left, err := t.row([]any{new(int64)}, `SELECT b.row FROM counters c JOIN builds b ON b.project = c.project
		WHERE c.project = $1 AND c.deleted <> 0 LIMIT 1`, name)
	if err != nil {
		return err
	}
	if left {
		return fmt.Errorf("the builds of the last project of that name are still being deleted; try again soon: %w", ci.ErrConflict)
	}
	_, err = t.exec("UPDATE counters SET deleted = 0 WHERE project = $1", name)
	return err
}

// Project reads a project; one that is not there is ci.ErrNotFound.
func (db *DB) Project(ctx context.Context, name string) (ci.Project, error) {
	p, err := records[ci.Project](ctx, db, nil, "SELECT record FROM projects WHERE name = $1", plain(name))
	if err == nil && len(p) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Project{}, fmt.Errorf("project %q: %w", name, err)
	}
	return p[0], nil
}

// Projects lists projects in the order of their names, those with the prefix,
// from behind the name after ("" = the first). next is "" at the end, else the
// after of the next page.
func (db *DB) Projects(ctx context.Context, prefix, after string, limit int) (page []ci.Project, next string, err error) {
	limit, err = pageSize(limit)
	if err == nil {
		prefix = plain(prefix)
		page, err = records[ci.Project](ctx, db, nil, "SELECT record FROM projects WHERE name > $1 AND name >= $2 AND name < $3 ORDER BY name LIMIT $4",
			plain(after), prefix, prefix+"\U0010FFFF", limit+1)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list projects: %w", err)
	}
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].Name
	}
	return page, next, nil
}

// DeleteProject removes a project, its builds and their events. With builds that
// are not done it is refused with ci.ErrConflict, unless force says to remove
// them as they are; then their transitions are ci.ErrNotFound from now on, as new
// builds of the project are. The builds go a few at a time, so that others can
// write in between; a process that is killed on the way goes on when it is opened.
func (db *DB) DeleteProject(ctx context.Context, name string, force bool) error {
	err := db.write(ctx, func(t *tx) error {
		open, err := t.row([]any{new(string)}, "SELECT id FROM builds WHERE project = $1 AND status IN ('queued', 'running', 'waiting') LIMIT 1", plain(name))
		if err != nil {
			return err
		}
		found, err := t.row([]any{new(string)}, "SELECT name FROM projects WHERE name = $1", plain(name))
		switch {
		case err != nil:
			return err
		case !found:
			return ci.ErrNotFound
		case open && !force:
			return fmt.Errorf("it has builds that are not done; stop them first: %w", ci.ErrConflict)
		}
		after, err := t.followers(name)
		if err == nil && len(after) > 0 {
			err = fmt.Errorf("%s is built after it; change that first: %w", strings.Join(after, ", "), ci.ErrConflict)
		}
		if err != nil {
			return err
		}
		if err := t.deleteTargets("project = $1", name); err != nil {
			return err
		}
		if err := t.forgetProject(name); err != nil {
			return err
		}
		if err := t.dropReports(name); err != nil {
			return err
		}
		for _, text := range []string{"DELETE FROM upstreams WHERE project = $1", "DELETE FROM projects WHERE name = $1"} {
			if _, err := t.exec(text, name); err != nil {
				return err
			}
		}
		_, err = t.exec("INSERT INTO counters (project, last, deleted) VALUES ($1, 0, 1) ON CONFLICT (project) DO UPDATE SET deleted = 1", name)
		return err
	})
	if err == nil {
		err = db.deleteBuilds(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("delete project %q: %w", name, err)
	}
	return nil
}

// buildsAtOnce is how many builds are deleted in one transaction.
const buildsAtOnce = 50

// deleteBuilds removes the builds of a deleted project.
func (db *DB) deleteBuilds(ctx context.Context, project string) error {
	for more := true; more; {
		err := db.write(ctx, func(t *tx) error {
			var ids []string
			err := t.rows(func(r *sql.Rows) error {
				var id string
				ids = append(ids, id)
				return r.Scan(&ids[len(ids)-1])
			}, `SELECT b.id FROM counters c JOIN builds b ON b.project = c.project
				WHERE c.project = $1 AND c.deleted <> 0 LIMIT $2`, project, buildsAtOnce)
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := t.dropBuild(ci.BuildID(id)); err != nil {
					return err
				}
			}
			more = len(ids) == buildsAtOnce
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finishDeleting goes on where a process was killed in the middle of DeleteProject.
func (db *DB) finishDeleting(ctx context.Context) {
	var projects []string
	err := db.query(ctx, func(r *sql.Rows) error {
		var project string
		err := r.Scan(&project)
		projects = append(projects, project)
		return err
	}, "SELECT project FROM counters c WHERE deleted <> 0 AND EXISTS (SELECT 1 FROM builds b WHERE b.project = c.project)")
	for _, project := range projects {
		if err == nil {
			err = db.deleteBuilds(ctx, project)
		}
	}
	if err != nil && ctx.Err() == nil {
		db.opt.Log.Warn("builds of deleted projects are left; the next start tries again", "error", err)
	}
}

// records reads rows of one JSON column and, where rest is given, of others that it scans.
func records[T any](ctx context.Context, db *DB, rest func(*T) []any, text string, args ...any) (list []T, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var record []byte
		var v T
		into := []any{&record}
		if rest != nil {
			into = append(into, rest(&v)...)
		}
		if err := r.Scan(into...); err != nil {
			return err
		}
		list = append(list, v)
		return json.Unmarshal(record, &list[len(list)-1])
	}, text, args...)
	return list, err
}
