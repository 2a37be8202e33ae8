package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// ownScope marks the secrets of the server itself. No project's name begins so.
const ownScope = "#"

// AddSecretVersion stores a value. v.Number must be the one behind the newest,
// s.ID the stored one's (or new, with the number 1), and v.Key the current master
// key: else somebody else was faster, which is ci.ErrConflict, and the value is to
// be sealed anew. The description is replaced where s has one.
func (db *DB) AddSecretVersion(ctx context.Context, s ci.Secret, v ci.SecretVersion) (ci.Secret, error) {
	var put ci.Secret
	err := db.write(ctx, func(t *tx) error {
		put = s
		now := nanos(db.opt.Now())
		if err := t.secretHolder(s.Project); err != nil {
			return err
		}
		key, err := t.currentKey()
		if err != nil {
			return err
		}
		if key != v.Key {
			return fmt.Errorf("the master key is another now: %w", ci.ErrConflict)
		}
		var id, description string
		var last, created int64
		found, err := t.row([]any{&id, &description, &last, &created}, "SELECT id, description, last, created FROM secrets WHERE project = $1 AND name = $2", s.Project, s.Name)
		switch {
		case err != nil:
			return err
		case found && (id != s.ID || last+1 != v.Number), !found && v.Number != 1:
			return fmt.Errorf("version %d is not the next: %w", v.Number, ci.ErrConflict)
		case !found:
			created = now
			_, err = t.exec("INSERT INTO secrets (id, project, name, description, last, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $7)",
				s.ID, s.Project, s.Name, s.Description, v.Number, created, now)
		default:
			if put.Description == "" {
				put.Description = description
			}
			_, err = t.exec("UPDATE secrets SET description = $2, last = $3, updated = $4 WHERE id = $1", s.ID, put.Description, v.Number, now)
		}
		if err != nil {
			return err
		}
		put.Version, put.Created, put.Updated = v.Number, moment(created), moment(now)
		_, err = t.exec("INSERT INTO secret_versions (secret, number, key_id, maker, created, sealed) VALUES ($1, $2, $3, $4, $5, $6)",
			s.ID, v.Number, v.Key, plain(v.By), now, base64.StdEncoding.EncodeToString(v.Sealed))
		return err
	})
	if err != nil {
		return ci.Secret{}, fmt.Errorf("store secret %q: %w", s.Name, err)
	}
	return put, nil
}

// secretHolder refuses secrets of a project that is not there.
func (t *tx) secretHolder(project string) error {
	if project == "" || strings.HasPrefix(project, ownScope) {
		return nil
	}
	found, err := t.row([]any{new(string)}, "SELECT name FROM projects WHERE name = $1", plain(project))
	if err == nil && !found {
		err = fmt.Errorf("project %q: %w", project, ci.ErrNotFound)
	}
	return err
}

func (t *tx) secretID(project, name string) (string, error) {
	var id string
	found, err := t.row([]any{&id}, "SELECT id FROM secrets WHERE project = $1 AND name = $2", plain(project), plain(name))
	if err == nil && !found {
		err = ci.ErrNotFound
	}
	return id, err
}

const selectSecrets = "SELECT id, project, name, description, last, created, updated FROM secrets "

func (db *DB) secrets(ctx context.Context, text string, args ...any) (list []ci.Secret, err error) {
	at := map[string]int{}
	err = db.query(ctx, func(r *sql.Rows) error {
		var s ci.Secret
		var created, updated int64
		if err := r.Scan(&s.ID, &s.Project, &s.Name, &s.Description, &s.Version, &created, &updated); err != nil {
			return err
		}
		s.Created, s.Updated = moment(created), moment(updated)
		at[s.ID] = len(list)
		list = append(list, s)
		return nil
	}, selectSecrets+text, args...)
	if err != nil || len(list) == 0 || list[0].Project != "" {
		return list, err
	}
	err = db.query(ctx, func(r *sql.Rows) error {
		var id, project string
		err := r.Scan(&id, &project)
		if i, ok := at[id]; ok {
			list[i].Projects = append(list[i].Projects, project)
		}
		return err
	}, "SELECT secret, project FROM secret_grants ORDER BY project")
	return list, err
}

// Secrets lists the secrets of a project by name; "" = the global ones.
func (db *DB) Secrets(ctx context.Context, project string) ([]ci.Secret, error) {
	list, err := db.secrets(ctx, "WHERE project = $1 ORDER BY name", plain(project))
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	return list, nil
}

// Secret finds one; one that is not there is ci.ErrNotFound.
func (db *DB) Secret(ctx context.Context, project, name string) (ci.Secret, error) {
	list, err := db.secrets(ctx, "WHERE project = $1 AND name = $2", plain(project), plain(name))
	if err == nil && len(list) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Secret{}, fmt.Errorf("secret %q: %w", name, err)
	}
	return list[0], nil
}

const selectVersions = `SELECT s.id, s.project, s.name, v.number, v.key_id, v.maker, v.created, v.sealed
	FROM secret_versions v JOIN secrets s ON s.id = v.secret `

func (db *DB) secretVersions(ctx context.Context, text string, args ...any) (list []ci.SecretVersion, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var v ci.SecretVersion
		var created int64
		var sealed string
		if err := r.Scan(&v.Secret, &v.Project, &v.Name, &v.Number, &v.Key, &v.By, &created, &sealed); err != nil {
			return err
		}
		v.Created = moment(created)
		if v.Sealed, err = base64.StdEncoding.DecodeString(sealed); err != nil {
			return fmt.Errorf("version %d of secret %q is damaged: %w", v.Number, v.Name, err)
		}
		list = append(list, v)
		return nil
	}, selectVersions+text, args...)
	return list, err
}

// SecretVersions lists the versions of a secret, the newest first.
func (db *DB) SecretVersions(ctx context.Context, id string) ([]ci.SecretVersion, error) {
	list, err := db.secretVersions(ctx, "WHERE v.secret = $1 ORDER BY v.number DESC", plain(id))
	if err != nil {
		return nil, fmt.Errorf("list versions of a secret: %w", err)
	}
	return list, nil
}

// SecretVersion reads one version; one that is not there (any more) is ci.ErrNotFound.
func (db *DB) SecretVersion(ctx context.Context, id string, number int64) (ci.SecretVersion, error) {
	list, err := db.secretVersions(ctx, "WHERE v.secret = $1 AND v.number = $2", plain(id), number)
	if err == nil && len(list) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.SecretVersion{}, fmt.Errorf("version %d: %w", number, err)
	}
	return list[0], nil
}

// PruneSecret removes all versions but the newest keep, which are at least one,
// and says how many those were.
func (db *DB) PruneSecret(ctx context.Context, project, name string, keep int64) (n int64, err error) {
	if keep < 1 {
		return 0, fmt.Errorf("prune secret %q: want at least one version kept: %w", name, ci.ErrInvalid)
	}
	err = db.write(ctx, func(t *tx) error {
		id, err := t.secretID(project, name)
		if err != nil {
			return err
		}
		n, err = t.exec(`DELETE FROM secret_versions WHERE secret = $1 AND number NOT IN
			(SELECT number FROM secret_versions WHERE secret = $1 ORDER BY number DESC LIMIT $2)`, id, keep)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune secret %q: %w", name, err)
	}
	return n, nil
}

// DeleteSecret removes a secret with all its versions.
func (db *DB) DeleteSecret(ctx context.Context, project, name string) error {
	err := db.write(ctx, func(t *tx) error {
		id, err := t.secretID(project, name)
		if err != nil {
			return err
		}
		return t.dropSecrets("SELECT id FROM secrets WHERE id = $1", id)
	})
	if err != nil {
		return fmt.Errorf("delete secret %q: %w", name, err)
	}
	return nil
}

// dropSecrets removes the secrets whose IDs a query gives.
func (t *tx) dropSecrets(ids string, args ...any) error {
	for _, text := range []string{
		"DELETE FROM secret_versions WHERE secret IN (" + ids + ")",
		"DELETE FROM secret_grants WHERE secret IN (" + ids + ")",
		"DELETE FROM secrets WHERE id IN (" + ids + ")",
	} {
		if _, err := t.exec(text, args...); err != nil {
			return err
		}
	}
	return nil
}

// forgetProject takes what a deleted project had: a new one of its name inherits nothing.
func (t *tx) forgetProject(name string) error {
	if err := t.dropSecrets("SELECT id FROM secrets WHERE project = $1", name); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM secret_grants WHERE project = $1", name)
	return err
}

// GrantSecret says which projects may use a global secret, in place of those that
// might before. Each must be there, or be ci.AllProjects.
func (db *DB) GrantSecret(ctx context.Context, name string, projects []string) error {
	err := db.write(ctx, func(t *tx) error {
		id, err := t.secretID("", name)
		if err != nil {
			return err
		}
		for _, p := range projects {
			if p == ci.AllProjects {
				continue
			}
			if err := t.secretHolder(p); err != nil {
				return err
			}
		}
		if _, err := t.exec("DELETE FROM secret_grants WHERE secret = $1", id); err != nil {
			return err
		}
		for _, p := range projects {
			if _, err := t.exec("INSERT INTO secret_grants (secret, project) VALUES ($1, $2) ON CONFLICT (secret, project) DO NOTHING", id, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("grant secret %q: %w", name, err)
	}
	return nil
}

// UseSecret records that a build is given a secret, and answers with what is
// recorded: of a build that was given one by that name before (made is false then),
// what it was.
func (db *DB) UseSecret(ctx context.Context, u ci.SecretUse) (recorded ci.SecretUse, made bool, err error) {
	err = db.write(ctx, func(t *tx) error {
		recorded, made = u, false
		var used int64
		found, err := t.row([]any{&recorded.Secret, &recorded.Version, &used}, "SELECT secret, version, used FROM secret_uses WHERE build = $1 AND source = $2 AND ref = $3",
			string(u.Build), u.Source, plain(u.Ref))
		if err != nil {
			return err
		}
		if found {
			recorded.Time = moment(used)
			return nil
		}
		made = true
		_, err = t.exec("INSERT INTO secret_uses (build, source, ref, secret, version, used) VALUES ($1, $2, $3, $4, $5, $6)",
			string(u.Build), u.Source, plain(u.Ref), u.Secret, u.Version, nanos(u.Time))
		return err
	})
	if err != nil {
		return ci.SecretUse{}, false, fmt.Errorf("record the use of secret %q: %w", u.Ref, err)
	}
	return recorded, made, nil
}
