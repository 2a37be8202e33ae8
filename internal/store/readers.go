package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Position is how far the reader of events of that name has come. A new one is at
// the end: it is told of what happens from now on.
func (db *DB) Position(ctx context.Context, reader string) (at int64, err error) {
	found := false
	err = db.query(ctx, func(r *sql.Rows) error { found = true; return r.Scan(&at) }, "SELECT seen FROM readers WHERE name = $1", plain(reader))
	if err == nil && !found {
		err = db.write(ctx, func(t *tx) error {
			if found, err := t.row([]any{&at}, "SELECT seen FROM readers WHERE name = $1", plain(reader)); found || err != nil {
				return err
			}
			if _, err := t.row([]any{&at}, "SELECT COALESCE(MAX(id), 0) FROM events"); err != nil {
				return err
			}
			_, err := t.exec("INSERT INTO readers (name, seen) VALUES ($1, $2)", plain(reader), at)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("position of the reader %q: %w", reader, err)
	}
	return at, nil
}

// MoveTo stores how far a reader has come. It never goes back.
func (db *DB) MoveTo(ctx context.Context, reader string, at int64) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE readers SET seen = $1 WHERE name = $2 AND seen < $1", at, plain(reader))
		return err
	})
	if err != nil {
		return fmt.Errorf("move the reader %q: %w", reader, err)
	}
	return nil
}
