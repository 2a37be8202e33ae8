package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

func (t *tx) currentKey() (id string, err error) {
	_, err = t.row([]any{&id}, "SELECT id FROM secret_keys ORDER BY row DESC LIMIT 1")
	return id, err
}

// SecretKeys lists the master keys that values are or were sealed under, by the
// time at which each became the current one: the last is the one to seal with.
func (db *DB) SecretKeys(ctx context.Context) (list []ci.SecretKey, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var k ci.SecretKey
		var created int64
		err := r.Scan(&k.ID, &created, &k.Values)
		k.Created = moment(created)
		list = append(list, k)
		return err
	}, `SELECT k.id, k.created, (SELECT COUNT(*) FROM secret_versions v WHERE v.key_id = k.id)
		FROM secret_keys k ORDER BY k.row`)
	if err != nil {
		return nil, fmt.Errorf("list master keys: %w", err)
	}
	return list, nil
}

// AddSecretKey makes a master key the current one, if after still is ("" = if
// there is none); else somebody else was faster, which is ci.ErrConflict.
func (db *DB) AddSecretKey(ctx context.Context, id, after string) error {
	err := db.write(ctx, func(t *tx) error {
		current, err := t.currentKey()
		if err != nil {
			return err
		}
		if current != after {
			return fmt.Errorf("the current one is %q and not %q: %w", current, after, ci.ErrConflict)
		}
		// One that was current before becomes it again.
		if _, err := t.exec("DELETE FROM secret_keys WHERE id = $1", id); err != nil {
			return err
		}
		_, err = t.exec("INSERT INTO secret_keys (id, created) VALUES ($1, $2)", id, nanos(db.opt.Now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("store master key %s: %w", id, err)
	}
	return nil
}

// ForgetSecretKeys forgets the keys, but for the current one and those that a
// value is sealed under, or the secret of a target of notifications.
func (db *DB) ForgetSecretKeys(ctx context.Context) error {
	err := db.write(ctx, func(t *tx) error {
		current, err := t.currentKey()
		if err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM secret_keys WHERE id <> $1 AND NOT EXISTS (SELECT 1 FROM secret_versions v WHERE v.key_id = secret_keys.id)", current)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget master keys: %w", err)
	}
	return nil
}

// SealedOtherwise gives some versions that are sealed under another master key
// than this one, from behind the number of a secret; none at the end.
func (db *DB) SealedOtherwise(ctx context.Context, key, secret string, number int64, limit int) ([]ci.SecretVersion, error) {
	list, err := db.secretVersions(ctx, "WHERE v.key_id <> $1 AND (v.secret > $2 OR v.secret = $2 AND v.number > $3) ORDER BY v.secret, v.number LIMIT $4", key, secret, number, limit)
	if err != nil {
		return nil, fmt.Errorf("list sealed values: %w", err)
	}
	return list, nil
}

// Reseal puts values in the place of what they were before. One that was deleted
// meanwhile stays so, and one that is sealed under another key by now is left.
func (db *DB) Reseal(ctx context.Context, before, after []ci.SecretVersion) error {
	err := db.write(ctx, func(t *tx) error {
		for i, v := range after {
			if _, err := t.exec("UPDATE secret_versions SET key_id = $3, sealed = $4 WHERE secret = $1 AND number = $2 AND key_id = $5",
				v.Secret, v.Number, v.Key, base64.StdEncoding.EncodeToString(v.Sealed), before[i].Key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reseal: %w", err)
	}
	return nil
}

// LastUse tells of the last build that was given a secret; ci.ErrNotFound = none was.
func (db *DB) LastUse(ctx context.Context, secret string) (u ci.SecretUse, err error) {
	found := false
	err = db.query(ctx, func(r *sql.Rows) error {
		var used int64
		found = true
		err := r.Scan((*string)(&u.Build), &u.Source, &u.Ref, &u.Version, &used)
		u.Secret, u.Time = secret, moment(used)
		return err
	}, "SELECT build, source, ref, version, used FROM secret_uses WHERE secret = $1 ORDER BY used DESC LIMIT 1", plain(secret))
	if err == nil && !found {
		err = ci.ErrNotFound
	}
	if err != nil && !errors.Is(err, ci.ErrNotFound) {
		err = fmt.Errorf("last use of a secret: %w", err)
	}
	return u, err
}
