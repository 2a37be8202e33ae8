package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Beat says that the node lives, and that it will for a while longer. Others tell
// by its count of beats whether it does: clocks jump, counts do not.
func (db *DB) Beat(ctx context.Context, name, url string, length time.Duration) error {
	err := db.write(ctx, func(t *tx) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		_, err = t.exec("INSERT INTO nodes (name, url, beat, until) VALUES ($1, $2, 1, $3) ON CONFLICT (name) DO UPDATE SET url = excluded.url, beat = nodes.beat + 1, until = excluded.until",
			name, url, now+int64(length))
		return err
	})
	if err != nil {
		return fmt.Errorf("beat of node %s: %w", name, err)
	}
	return nil
}

// ForgetNodes removes nodes that were last heard of so long ago and have nothing in hand.
func (db *DB) ForgetNodes(ctx context.Context, silent time.Duration) error {
	err := db.write(ctx, func(t *tx) error {
		now, err := t.now()
		if err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM nodes WHERE until < $1 AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.node = nodes.name AND "+openStatus+")", now-int64(silent))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget nodes: %w", err)
	}
	return nil
}

// Nodes lists the nodes by name, those that are gone too.
func (db *DB) Nodes(ctx context.Context) ([]ci.Node, error) {
	var list []ci.Node
	err := db.query(ctx, func(r *sql.Rows) error {
		var n ci.Node
		var until, now int64
		err := r.Scan(&n.Name, &n.URL, &n.Beat, &until, &now)
		n.Left = max(0, time.Duration(until-db.clock(now)))
		list = append(list, n)
		return err
	}, "SELECT name, url, beat, until, "+db.dialect.clock()+" FROM nodes ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return list, nil
}

// clock is what the database says the time is, or, where it has no clock for
// several processes, what this one says.
func (db *DB) clock(said int64) int64 {
	if said != 0 {
		return said
	}
	return nanos(db.opt.Now())
}

const openStatus = "b.status IN ('queued', 'running', 'waiting')"

// Held lists the builds that are not done and in the hands of the node, oldest first.
func (db *DB) Held(ctx context.Context, node string) ([]ci.BuildID, error) {
	return db.ids(ctx, "SELECT b.id FROM builds b WHERE "+openStatus+" AND b.node = $1 ORDER BY b.queued, b.row", node)
}

// Abandoned lists the builds that are not done and in the hands of a node that
// nobody knows, or of none, oldest first.
func (db *DB) Abandoned(ctx context.Context) ([]ci.BuildID, error) {
	return db.ids(ctx, "SELECT b.id FROM builds b LEFT JOIN nodes n ON n.name = b.node WHERE "+openStatus+" AND n.name IS NULL ORDER BY b.queued, b.row")
}

// Waiting lists builds none of whose jobs has begun, that other nodes have in hand
// and that have waited for so long at least, the longest first, as Builds does.
func (db *DB) Waiting(ctx context.Context, node string, length time.Duration, limit int) ([]ci.Build, error) {
	list, err := records[ci.Build](ctx, db, nil, "SELECT b.record FROM builds b WHERE "+openStatus+" AND b.node <> $1 AND b.queued <= $2"+
		" AND NOT EXISTS (SELECT 1 FROM events e WHERE e.build = b.id AND e.type = 'job_started') ORDER BY b.queued, b.row LIMIT $3",
		node, nanos(db.opt.Now().Add(-length)), limit)
	if err != nil {
		return nil, fmt.Errorf("list builds that wait: %w", err)
	}
	return list, nil
}

func (db *DB) ids(ctx context.Context, text string, args ...any) (list []ci.BuildID, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var id ci.BuildID
		err := r.Scan(&id)
		list = append(list, id)
		return err
	}, text, args...)
	if err != nil {
		return nil, fmt.Errorf("list builds of nodes: %w", err)
	}
	return list, nil
}

// Take gives a build that is not done to the node. One of whose jobs one has begun
// is taken only from a node that has not beaten since gone, as Nodes gave it (the
// zero Node = one that nobody knows); else that is ci.ErrConflict. What the node
// that had it then says of it is refused with ci.ErrConflict. A build whose project
// has a limit of builds at once goes only where the others are.
func (db *DB) Take(ctx context.Context, id ci.BuildID, node string, gone ci.Node) error {
	if err := db.write(ctx, func(t *tx) error { return t.take(id, node, gone) }); err != nil {
		return fmt.Errorf("take build %s: %w", id, err)
	}
	return nil
}

func (t *tx) take(id ci.BuildID, node string, gone ci.Node) error {
	var b ci.Build
	begun := false
	err := t.rows(func(r *sql.Rows) error {
		e, err := scanEvent(r, id)
		begun = begun || e.Type == ci.EventJobStarted
		if err != nil {
			return err
		}
		return b.Apply(e)
	}, selectEvents, string(id))
	switch {
	case err != nil:
		return err
	case b.ID == "":
		return ci.ErrNotFound
	case b.Status.Done():
		return fmt.Errorf("it is %s: %w", b.Status, ci.ErrConflict)
	case b.Node == node:
		return nil
	}
	if begun {
		if err := t.gone(b.Node, gone); err != nil {
			return err
		}
	}
	if b.Limits.Builds > 0 {
		holder, err := t.holder(b, gone.Name)
		if err != nil {
			return err
		}
		if holder != "" && holder != node {
			return fmt.Errorf("%s has other builds of project %q, which may not run as many at once as it likes: %w", holder, b.Project, ci.ErrConflict)
		}
	}
	b.Node, b.Jobs, b.Plan = node, nil, nil
	delete(t.w.folds, id) // of what another process wrote
	return t.append(id, []ci.Event{t.stamp(ci.NewEvent(ci.EventBuildTaken, b))})
}

// gone refuses to take from a node that has beaten since it was seen.
func (t *tx) gone(node string, seen ci.Node) error {
	var beat int64
	known, err := t.row([]any{&beat}, "SELECT beat FROM nodes WHERE name = $1", node)
	if err == nil && known && (seen.Name != node || seen.Beat != beat) {
		err = fmt.Errorf("%s has it: %w", node, ci.ErrConflict)
	}
	return err
}

// stamp is for events that the store makes itself.
func (t *tx) stamp(e ci.Event) ci.Event {
	e.Time = t.w.db.opt.Now()
	return e
}

// holder is a node that has another build of the project in hand, and is not the
// one that is gone; "" = there is none.
func (t *tx) holder(b ci.Build, gone string) (node string, err error) {
	_, err = t.row([]any{&node}, "SELECT b.node FROM builds b JOIN nodes n ON n.name = b.node WHERE "+openStatus+
		" AND b.project = $1 AND b.id <> $2 AND b.node <> $3 ORDER BY b.queued, b.row LIMIT 1", b.Project, string(b.ID), gone)
	return node, err
}

// Wish notes that a build is to stop, for the node that has it in hand. The first
// cause stays.
func (db *DB) Wish(ctx context.Context, id ci.BuildID, cause string) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO wishes (build, cause) VALUES ($1, $2) ON CONFLICT (build) DO NOTHING", string(id), plain(cause))
		return err
	})
	if err != nil {
		return fmt.Errorf("ask build %s to stop: %w", id, err)
	}
	return nil
}

// Wishes lists the builds in the hands of the node that are to stop, with the causes.
func (db *DB) Wishes(ctx context.Context, node string) (map[ci.BuildID]string, error) {
	wishes := map[ci.BuildID]string{}
	err := db.query(ctx, func(r *sql.Rows) error {
		var id ci.BuildID
		var cause string
		err := r.Scan(&id, &cause)
		wishes[id] = cause
		return err
	}, "SELECT w.build, w.cause FROM wishes w JOIN builds b ON b.id = w.build WHERE b.node = $1", node)
	if err != nil {
		return nil, fmt.Errorf("list wishes: %w", err)
	}
	return wishes, nil
}

// Granted forgets a wish, and those for builds that are done or gone.
func (db *DB) Granted(ctx context.Context, id ci.BuildID) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM wishes WHERE build = $1 OR NOT EXISTS (SELECT 1 FROM builds b WHERE b.id = wishes.build AND "+openStatus+")", string(id))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget the wish for build %s: %w", id, err)
	}
	return nil
}
