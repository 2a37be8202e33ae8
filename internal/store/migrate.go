package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// The table of the migrations that a database has had.
const (
	makeVersions = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied BIGINT NOT NULL)"
	noteVersion  = "INSERT INTO schema_version (version, name, applied) VALUES ($1, $2, $3)"
)

// migration takes a database from the version before to its own. Once released
// it is never changed.
type migration struct {
	version int64
	name    string
	text    string
}

// migrations lists those that this binary knows, in order.
func migrations() []migration {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	list := make([]migration, len(files))
	for i, file := range files {
		number, name, _ := strings.Cut(strings.TrimSuffix(path.Base(file), ".sql"), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		text, readErr := migrationFiles.ReadFile(file)
		if err != nil || readErr != nil || version != int64(i+1) {
			panic(fmt.Sprintf("store: %s is not migration %d", file, i+1))
		}
		list[i] = migration{version: version, name: name, text: string(text)}
	}
	return list
}

// migrate brings the database up to date, each step in a transaction of its own:
// a process killed on the way leaves a database that the next one takes on from there.
func migrate(ctx context.Context, w *writer, all []migration) error {
	conn, err := w.pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open database: %w", w.db.fault(err))
	}
	defer conn.Close()
	run := func(text string, args ...any) error {
		_, err := conn.ExecContext(ctx, text, args...)
		return err
	}
	// One transaction to look and to make the table, so that several processes
	// that start at once take turns.
	step := func() (more bool, err error) {
		if err := run(w.db.dialect.begin()); err != nil {
			return false, err
		}
		defer func() {
			if err != nil {
				_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			}
		}()
		if err := run(makeVersions); err != nil {
			return false, err
		}
		var has int64
		if err := conn.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM schema_version").Scan(&has); err != nil {
			return false, err
		}
		known := int64(len(all))
		if has > known {
			return false, fmt.Errorf("database: its schema has version %d and this sluice knows versions up to %d; start the sluice that last used it or a newer one, or restore a backup made before: %w",
				has, known, ci.ErrConflict)
		}
		if has < known {
			m := all[has]
			if err := run(w.db.dialect.types().Replace(m.text)); err != nil {
				return false, fmt.Errorf("migration %d (%s): %w", m.version, m.name, err)
			}
			if err := run(noteVersion, m.version, m.name, nanos(w.db.opt.Now())); err != nil {
				return false, err
			}
		}
		return has < known, run("COMMIT")
	}
	for {
		more, err := step()
		if err != nil {
			return fmt.Errorf("open database: %w", w.db.fault(err))
		}
		if !more {
			return nil
		}
	}
}
