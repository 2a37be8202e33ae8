package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// PutUser stores a user, new or changed. With a Revision it must be that of the
// stored one: another is ci.ErrConflict, because somebody else changed it; with -1
// there must be none, and 0 is for whatever there is. Created
// stays what it first was, and the password of one who is there what it is
// (SetPassword). The answer has the new revision.
func (db *DB) PutUser(ctx context.Context, u ci.User) (ci.User, error) {
	if u.Name == "" || plain(u.Name) != u.Name || plain(u.Password) != u.Password {
		return ci.User{}, fmt.Errorf("user %q: want a name in UTF-8: %w", u.Name, ci.ErrInvalid)
	}
	var put ci.User
	err := db.write(ctx, func(t *tx) error {
		put = u
		created, revision := nanos(db.opt.Now()), int64(0)
		found, err := t.row([]any{&created, &revision, &put.Password}, "SELECT created, revision, password FROM users WHERE name = $1", u.Name)
		switch {
		case err != nil:
			return err
		case !found && u.Revision > 0:
			return ci.ErrNotFound
		case found && u.Revision != 0 && u.Revision != revision:
			return fmt.Errorf("revision %d was changed meanwhile and is now %d; get it again and repeat the change: %w", u.Revision, revision, ci.ErrConflict)
		}
		put.Created, put.Revision = moment(created), revision+1
		record, err := json.Marshal(put)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		_, err = t.exec(`INSERT INTO users (name, role, password, created, revision, record) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (name) DO UPDATE SET role = excluded.role, revision = excluded.revision, record = excluded.record`,
			put.Name, string(put.Role), put.Password, created, put.Revision, string(record))
		return err
	})
	if err != nil {
		return ci.User{}, fmt.Errorf("store user %q: %w", u.Name, err)
	}
	return put, nil
}

func userColumns(u *ci.User) []any { return []any{&u.Password, &u.Revision} }

// User reads a user; one that is not there is ci.ErrNotFound.
func (db *DB) User(ctx context.Context, name string) (ci.User, error) {
	users, err := records(ctx, db, userColumns, "SELECT record, password, revision FROM users WHERE name = $1", plain(name))
	if err == nil && len(users) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.User{}, fmt.Errorf("user %q: %w", name, err)
	}
	return users[0], nil
}

// Users lists all users by name.
func (db *DB) Users(ctx context.Context) ([]ci.User, error) {
	users, err := records(ctx, db, userColumns, "SELECT record, password, revision FROM users ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return users, nil
}

// DeleteUser removes a user and all tokens of that user.
func (db *DB) DeleteUser(ctx context.Context, name string) error {
	err := db.write(ctx, func(t *tx) error {
		found, err := t.row([]any{new(string)}, "SELECT name FROM users WHERE name = $1", plain(name))
		if err != nil {
			return err
		}
		if !found {
			return ci.ErrNotFound
		}
		if _, err := t.exec("DELETE FROM tokens WHERE owner = $1", name); err != nil {
			return err
		}
		// Nor is there anything left to log in with for one of the same name later.
		if _, err := t.exec("DELETE FROM codes WHERE owner = $1", name); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM users WHERE name = $1", name)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete user %q: %w", name, err)
	}
	return nil
}

// PutToken stores a new token. Its user must be there (ci.ErrNotFound), and its
// ID and hash must be new (ci.ErrConflict): a token never changes, and one that
// was deleted does not come back by being used.
func (db *DB) PutToken(ctx context.Context, k ci.Token) error {
	if k.ID == "" || k.Hash == "" || plain(k.ID+k.Hash+k.User) != k.ID+k.Hash+k.User {
		return fmt.Errorf("token %q: want an ID and a hash: %w", k.ID, ci.ErrInvalid)
	}
	if err := db.write(ctx, func(t *tx) error { return t.putToken(k) }); err != nil {
		return fmt.Errorf("store token %q: %w", k.ID, err)
	}
	return nil
}

func (t *tx) putToken(k ci.Token) error {
	record, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	owner, err := t.row([]any{new(string)}, "SELECT name FROM users WHERE name = $1", k.User)
	if err != nil {
		return err
	}
	if !owner {
		return fmt.Errorf("user %q: %w", k.User, ci.ErrNotFound)
	}
	taken, err := t.row([]any{new(string)}, "SELECT id FROM tokens WHERE id = $1 OR hash = $2", k.ID, k.Hash)
	if err != nil {
		return err
	}
	if taken {
		return fmt.Errorf("there is such a token: %w", ci.ErrConflict)
	}
	_, err = t.exec("INSERT INTO tokens (id, owner, hash, created, expires, last_used, record) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		k.ID, k.User, k.Hash, nanos(k.Created), nanos(k.Expires), nanos(k.LastUsed), string(record))
	return err
}

const selectTokens = "SELECT record, hash, last_used FROM tokens "

type storedToken struct {
	ci.Token
	lastUsed int64
}

func (db *DB) tokens(ctx context.Context, text string, args ...any) ([]ci.Token, error) {
	rows, err := records(ctx, db, func(k *storedToken) []any { return []any{&k.Hash, &k.lastUsed} }, text, args...)
	list := make([]ci.Token, len(rows))
	for i, r := range rows {
		list[i] = r.Token
		list[i].LastUsed = moment(r.lastUsed)
	}
	return list, err
}

// TokenByHash finds a token; an unknown one is ci.ErrNotFound. Whether it has
// expired is the caller's to look at.
func (db *DB) TokenByHash(ctx context.Context, hash string) (ci.Token, error) {
	list, err := db.tokens(ctx, selectTokens+"WHERE hash = $1", plain(hash))
	if err == nil && len(list) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Token{}, fmt.Errorf("token: %w", err)
	}
	return list[0], nil
}

// Tokens lists the tokens of a user.
func (db *DB) Tokens(ctx context.Context, user string) ([]ci.Token, error) {
	list, err := db.tokens(ctx, selectTokens+"WHERE owner = $1 ORDER BY id", plain(user))
	if err != nil {
		return nil, fmt.Errorf("list tokens of user %q: %w", user, err)
	}
	return list, nil
}

// TokenUsed notes when a token was last used. One that is no longer there stays so.
func (db *DB) TokenUsed(ctx context.Context, id string, at time.Time) error {
	return db.oneToken(ctx, id, "UPDATE tokens SET last_used = $2 WHERE id = $1", plain(id), nanos(at))
}

// DeleteToken removes a token; one that is not there is ci.ErrNotFound.
func (db *DB) DeleteToken(ctx context.Context, id string) error {
	return db.oneToken(ctx, id, "DELETE FROM tokens WHERE id = $1", plain(id))
}

func (db *DB) oneToken(ctx context.Context, id, text string, args ...any) error {
	var n int64
	err := db.write(ctx, func(t *tx) (err error) {
		n, err = t.exec(text, args...)
		return err
	})
	if err == nil && n == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("token %q: %w", id, err)
	}
	return nil
}
