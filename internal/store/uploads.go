package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// typeUpload is the type of sources that the server keeps itself.
const typeUpload = "upload"

// needUpload remembers that a new build needs its upload.
func (t *tx) needUpload(b ci.Build) error {
	if b.Source.Type != typeUpload {
		return nil
	}
	_, err := t.exec("INSERT INTO upload_uses (build, upload) VALUES ($1, $2)", string(b.ID), plain(b.Source.Location))
	return err
}

// dropBuild removes a build with all that is said of it.
func (t *tx) dropBuild(id ci.BuildID) error {
	t.touched[id] = true
	delete(t.w.folds, id)
	for _, text := range []string{
		"DELETE FROM events WHERE build = $1", "DELETE FROM upload_uses WHERE build = $1",
		"DELETE FROM sequels WHERE build = $1", "DELETE FROM expired WHERE build = $1", "DELETE FROM secret_uses WHERE build = $1", "DELETE FROM builds WHERE id = $1",
	} {
		if _, err := t.exec(text, string(id)); err != nil {
			return err
		}
	}
	return t.discard(ci.PartBuild, id)
}

// UploadNeeded says whether a build that is stored, done or not, was made from
// the upload.
func (db *DB) UploadNeeded(ctx context.Context, location string) (needed bool, err error) {
	err = db.query(ctx, func(*sql.Rows) error {
		needed = true
		return nil
	}, "SELECT build FROM upload_uses WHERE upload = $1 LIMIT 1", plain(location))
	if err != nil {
		return false, fmt.Errorf("builds of upload %s: %w", location, err)
	}
	return needed, nil
}
