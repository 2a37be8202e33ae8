package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// PutGroup stores a group, new or changed. With a Revision it must be that of the
// stored one: another is ci.ErrConflict.
func (db *DB) PutGroup(ctx context.Context, g ci.Group) (ci.Group, error) {
	if g.Name == "" || plain(g.Name) != g.Name {
		return ci.Group{}, fmt.Errorf("group %q: want a name in UTF-8: %w", g.Name, ci.ErrInvalid)
	}
	var put ci.Group
	err := db.write(ctx, func(t *tx) error {
		put = g
		created, revision := nanos(db.opt.Now()), int64(0)
		found, err := t.row([]any{&created, &revision}, "SELECT created, revision FROM user_groups WHERE name = $1", g.Name)
		switch {
		case err != nil:
			return err
		case !found && g.Revision != 0:
			return ci.ErrNotFound
		case g.Revision != 0 && g.Revision != revision:
			return fmt.Errorf("revision %d was changed meanwhile and is now %d; get it again and repeat the change: %w", g.Revision, revision, ci.ErrConflict)
		}
		put.Created, put.Revision = moment(created), revision+1
		record, err := json.Marshal(put)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		_, err = t.exec(`INSERT INTO user_groups (name, revision, created, record) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, record = excluded.record`, put.Name, put.Revision, created, string(record))
		return err
	})
	if err != nil {
		return ci.Group{}, fmt.Errorf("store group %q: %w", g.Name, err)
	}
	return put, nil
}

// Groups lists the groups of these names that there are, or without names all of
// them, by name.
func (db *DB) Groups(ctx context.Context, names ...string) ([]ci.Group, error) {
	text, args := "SELECT record FROM user_groups", make([]any, len(names))
	if len(names) > 0 {
		places := make([]string, len(names))
		for i, name := range names {
			places[i], args[i] = fmt.Sprintf("$%d", i+1), plain(name)
		}
		text += " WHERE name IN (" + strings.Join(places, ", ") + ")"
	}
	groups, err := records[ci.Group](ctx, db, nil, text+" ORDER BY name", args...)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return groups, nil
}

// DeleteGroup removes a group, and all users from it.
func (db *DB) DeleteGroup(ctx context.Context, name string) error {
	err := db.write(ctx, func(t *tx) error {
		found, err := t.row([]any{new(string)}, "SELECT name FROM user_groups WHERE name = $1", plain(name))
		if err == nil && !found {
			err = ci.ErrNotFound
		}
		if err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM user_groups WHERE name = $1", name); err != nil {
			return err
		}
		users, err := t.users("")
		if err != nil {
			return err
		}
		for _, u := range users {
			if !slices.Contains(u.Groups, name) {
				continue
			}
			u.Groups, u.Provided = without(u.Groups, name), without(u.Provided, name)
			u.Revision++
			if err := t.putRecord(u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete group %q: %w", name, err)
	}
	return nil
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

// ChangeGroups has change say in which groups a user is, and which of these the
// identity provider said. What comes of it is the answer; groups that there are
// not are ci.ErrNotFound. change may run more than once.
func (db *DB) ChangeGroups(ctx context.Context, name string, change func(u *ci.User)) (ci.User, error) {
	var put ci.User
	err := db.write(ctx, func(t *tx) error {
		users, err := t.users(name)
		if err != nil {
			return err
		}
		if len(users) == 0 {
			return ci.ErrNotFound
		}
		put = users[0]
		want := put
		want.Groups = slices.Clone(want.Groups)
		change(&want)
		slices.Sort(want.Groups)
		want.Groups = slices.Compact(want.Groups)
		if slices.Equal(put.Groups, want.Groups) && slices.Equal(put.Provided, want.Provided) {
			return nil
		}
		for _, g := range want.Groups {
			found, err := t.row([]any{new(string)}, "SELECT name FROM user_groups WHERE name = $1", plain(g))
			if err == nil && !found && !slices.Contains(put.Groups, g) {
				err = fmt.Errorf("group %q: %w", g, ci.ErrNotFound)
			}
			if err != nil {
				return err
			}
		}
		put.Groups, put.Provided = want.Groups, want.Provided
		put.Revision++
		return t.putRecord(put)
	})
	if err != nil {
		return ci.User{}, fmt.Errorf("groups of user %q: %w", name, err)
	}
	return put, nil
}

// users reads one user, or with "" all of them.
func (t *tx) users(name string) (list []ci.User, err error) {
	err = t.rows(func(r *sql.Rows) error {
		var u ci.User
		var record []byte
		if err := r.Scan(append([]any{&record}, userColumns(&u)...)...); err != nil {
			return err
		}
		if err := json.Unmarshal(record, &u); err != nil {
			return fmt.Errorf("record of a user: %w", err)
		}
		list = append(list, u)
		return nil
	}, "SELECT record, password, revision FROM users WHERE name = $1 OR $2 = '' ORDER BY name", plain(name), name)
	return list, err
}

// putRecord stores what changed of a user who is there.
func (t *tx) putRecord(u ci.User) error {
	record, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = t.exec("UPDATE users SET role = $2, revision = $3, record = $4 WHERE name = $1", u.Name, string(u.Role), u.Revision, string(record))
	return err
}
