package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Snapshot is a database as it was at one moment, whatever is written meanwhile,
// by this process or by others. It changes nothing, also not the schema.
type Snapshot struct {
	dialect dialect
	pool    *sql.DB
	conn    *sql.Conn
	version int64
}

// OpenSnapshot opens the database that url names, as OpenDB does; a server may
// have it open. One that is not there is ci.ErrNotFound, one that a newer sluice
// has changed ci.ErrConflict.
func OpenSnapshot(ctx context.Context, url string) (s *Snapshot, err error) {
	d, err := named(ctx, url, func(path string) (dialect, error) { return readSQLite(path) })
	if err != nil {
		return nil, err
	}
	s = &Snapshot{dialect: d}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("read database: %w", err), s.Close())
		}
	}()
	if s.pool, err = d.reader(); err != nil {
		return nil, err
	}
	if s.conn, err = s.pool.Conn(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ci.ErrUnavailable)
	}
	if _, err = s.conn.ExecContext(ctx, d.freeze()); err != nil {
		return nil, err
	}
	names, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	if names["schema_version"] == 0 {
		return nil, fmt.Errorf("no server has used it yet: %w", ci.ErrNotFound)
	}
	if err = s.conn.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_version").Scan(&s.version); err != nil {
		return nil, err
	}
	if known := int64(len(migrations())); s.version > known {
		return nil, fmt.Errorf("its schema has version %d and this sluice knows versions up to %d; use the sluice that last used it or a newer one: %w", s.version, known, ci.ErrConflict)
	}
	return s, nil
}

// named makes the dialect of a database's address.
func named(ctx context.Context, url string, sqlite func(path string) (dialect, error)) (dialect, error) {
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		d, err := newPostgres(ctx, url)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	if scheme, _, ok := strings.Cut(url, "://"); ok {
		return nil, fmt.Errorf("database %s://…: want postgres://USER@HOST/NAME or sqlite:PATH: %w", scheme, ci.ErrInvalid)
	}
	return sqlite(strings.TrimPrefix(url, "sqlite:"))
}

// readSQLite is a file that is there, without the lock of who writes it.
func readSQLite(path string) (dialect, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, fmt.Errorf("database %q: want the path of a file: %w", path, ci.ErrInvalid)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("database %s: %w", path, ci.ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return &sqliteDB{path: path}, nil
}

// Close lets go of the database.
func (s *Snapshot) Close() error {
	var errs []error
	if s.conn != nil {
		_, _ = s.conn.ExecContext(context.Background(), "ROLLBACK") // nothing was changed
		errs = append(errs, s.conn.Close())
	}
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	return errors.Join(errs...)
}

// Version is that of the schema.
func (s *Snapshot) Version() int64 { return s.version }

// Builds gives the IDs of all builds, in the order in which they were stored.
func (s *Snapshot) Builds(ctx context.Context) (ids []ci.BuildID, err error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT id FROM builds ORDER BY row")
	if err == nil {
		err = each(rows, func(r *sql.Rows) error {
			var id ci.BuildID
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the builds: %w", err)
	}
	return ids, nil
}

// Build puts a build together from its events. ci.ErrNotFound: there is none;
// ci.ErrInvalid: its events make no build.
func (s *Snapshot) Build(ctx context.Context, id ci.BuildID) (ci.Build, error) {
	var events []ci.Event
	var b ci.Build
	rows, err := s.conn.QueryContext(ctx, selectEvents, string(id))
	if err == nil {
		err = each(rows, func(r *sql.Rows) error {
			e, err := scanEvent(r, id)
			events = append(events, e)
			return err
		})
	}
	if err != nil {
		return b, fmt.Errorf("read build %s: %w", id, err)
	}
	if len(events) == 0 {
		return b, fmt.Errorf("build %s: %w", id, ci.ErrNotFound)
	}
	for i, e := range events {
		if e.Seq != int64(i+1) {
			return b, fmt.Errorf("build %s: its event %d is missing: %w", id, i+1, ci.ErrInvalid)
		}
		if err := b.Apply(e); err != nil {
			return b, fmt.Errorf("build %s: event %d: %w: %w", id, e.Seq, err, ci.ErrInvalid)
		}
	}
	return b, nil
}

// Expired says of which builds parts were removed (ci.PartArtifacts, ci.PartLogs), or
// are just being removed, with the whole build (ci.PartBuild) or without.
func (s *Snapshot) Expired(ctx context.Context) (map[ci.BuildID]map[string]bool, error) {
	parts := map[ci.BuildID]map[string]bool{}
	names, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	for _, table := range []string{"expired", "discards"} {
		if names[table] == 0 {
			continue // of an older schema
		}
		rows, err := s.conn.QueryContext(ctx, "SELECT build, what FROM "+table)
		if err == nil {
			err = each(rows, func(r *sql.Rows) error {
				var id ci.BuildID
				var part string
				err := r.Scan(&id, &part)
				if parts[id] == nil {
					parts[id] = map[string]bool{}
				}
				parts[id][part] = true
				return err
			})
		}
		if err != nil {
			return nil, fmt.Errorf("read what was removed of builds: %w", err)
		}
	}
	return parts, nil
}

// Check has the database look at itself, and looks at what its columns say of
// each other. It gives what is wrong, in words.
func (s *Snapshot) Check(ctx context.Context) (wrong []string, err error) {
	if wrong, err = s.dialect.check(ctx, s.conn); err != nil {
		return wrong, fmt.Errorf("check the database: %w", err)
	}
	for _, q := range []struct{ text, says string }{
		{"SELECT id FROM builds WHERE NOT EXISTS (SELECT 1 FROM events WHERE events.build = builds.id)", "build %s has no events"},
		{"SELECT DISTINCT build FROM events WHERE NOT EXISTS (SELECT 1 FROM builds WHERE builds.id = events.build)", "there are events of build %s, which there is not"},
		{"SELECT project FROM builds GROUP BY project HAVING MAX(number) > COALESCE((SELECT last FROM counters WHERE counters.project = builds.project), 0)", "project %s has a build with a number that was not given yet"},
	} {
		rows, err := s.conn.QueryContext(ctx, q.text)
		if err == nil {
			err = each(rows, func(r *sql.Rows) error {
				var name string
				err := r.Scan(&name)
				wrong = append(wrong, fmt.Sprintf(q.says, name))
				return err
			})
		}
		if err != nil {
			return wrong, fmt.Errorf("check the database: %w", err)
		}
	}
	return wrong, nil
}
