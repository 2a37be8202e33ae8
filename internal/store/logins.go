package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// SetPassword stores the hash of a new password of a user, and ends the user's
// sessions but one, and all codes. With a code, that is used up; one that is not there any more
// is ci.ErrNotFound, and nothing is stored.
func (db *DB) SetPassword(ctx context.Context, p ci.NewPassword) error {
	err := db.write(ctx, func(t *tx) error {
		if p.Code != "" {
			var expires int64
			found, err := t.row([]any{&expires}, "SELECT expires FROM codes WHERE hash = $1 AND owner = $2", p.Code, p.User)
			if err != nil {
				return err
			}
			if !found || !db.opt.Now().Before(moment(expires)) {
				return fmt.Errorf("the code: %w", ci.ErrNotFound)
			}
		}
		n, err := t.exec("UPDATE users SET password = $2 WHERE name = $1", plain(p.User), plain(p.Hash))
		if err != nil {
			return err
		}
		if n == 0 {
			return ci.ErrNotFound
		}
		// With it go the other links of the user: who has one may not be the user.
		if _, err := t.exec("DELETE FROM codes WHERE hash = $1 OR owner = $2", p.Code, p.User); err != nil {
			return err
		}
		return t.endSessions(p.User, 0, p.Keep)
	})
	if err != nil {
		return fmt.Errorf("password of user %q: %w", p.User, err)
	}
	return nil
}

// UpgradePassword replaces the hash of a password by another of the same one,
// unless it was changed meanwhile.
func (db *DB) UpgradePassword(ctx context.Context, name, old, hash string) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE users SET password = $3 WHERE name = $1 AND password = $2", plain(name), old, plain(hash))
		return err
	})
	if err != nil {
		return fmt.Errorf("password of user %q: %w", name, err)
	}
	return nil
}

// endSessions removes the sessions of a user but the newest ones, as many as
// stay, and the one with the ID keep.
func (t *tx) endSessions(user string, stay int, keep string) error {
	var ids []string
	err := t.rows(func(r *sql.Rows) error {
		var id string
		var record []byte
		if err := r.Scan(&id, &record); err != nil {
			return err
		}
		var k ci.Token
		if err := json.Unmarshal(record, &k); err != nil {
			return fmt.Errorf("token %q: %w", id, err)
		}
		if k.Session && id != keep {
			ids = append(ids, id)
		}
		return nil
	}, "SELECT id, record FROM tokens WHERE owner = $1 ORDER BY created DESC, id", plain(user))
	if err != nil || len(ids) <= stay {
		return err
	}
	for _, id := range ids[stay:] {
		if _, err := t.exec("DELETE FROM tokens WHERE id = $1", id); err != nil {
			return err
		}
	}
	return nil
}

// PutSession is PutToken for a session. The user's oldest sessions end, so that
// there are not more than most.
func (db *DB) PutSession(ctx context.Context, k ci.Token, most int) error {
	err := db.write(ctx, func(t *tx) error {
		if err := t.putToken(k); err != nil {
			return err
		}
		return t.endSessions(k.User, most-1, k.ID)
	})
	if err != nil {
		return fmt.Errorf("store session %q: %w", k.ID, err)
	}
	return nil
}

// forgetAfter is how long after the last failure all are forgotten.
const forgetAfter = time.Hour

// waitAfter is how long after the last failure the next attempt may be made.
func waitAfter(l ci.Limit, failures int64) time.Duration {
	over := failures - l.Free
	if over < 0 {
		return 0
	}
	return min(time.Second<<min(over, 20), l.Most)
}

// Attempt counts an attempt as failed, before it is made, so that none of many at
// once goes uncounted; Succeeded takes it back. Where a limit says so it is not
// to be made, and not counted: the answer is the limit and how long to wait.
func (db *DB) Attempt(ctx context.Context, limits ...ci.Limit) (refused string, wait time.Duration, err error) {
	now := db.opt.Now()
	err = db.write(ctx, func(t *tx) error {
		refused, wait = "", 0
		counts := make([]int64, len(limits))
		for i, l := range limits {
			var last int64
			if _, err := t.row([]any{&counts[i], &last}, "SELECT failures, last FROM attempts WHERE what = $1", plain(l.What)); err != nil {
				return err
			}
			since := now.Sub(moment(last))
			if since < 0 {
				since = 0 // the clock was set back
			}
			if since > forgetAfter {
				counts[i] = 0
			}
			if d := waitAfter(l, counts[i]) - since; counts[i] > 0 && d > wait {
				refused, wait = l.What, d
			}
		}
		if refused != "" {
			return nil
		}
		for i, l := range limits {
			_, err := t.exec(`INSERT INTO attempts (what, failures, last) VALUES ($1, $2, $3)
				ON CONFLICT (what) DO UPDATE SET failures = excluded.failures, last = excluded.last`, plain(l.What), counts[i]+1, nanos(now))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", 0, fmt.Errorf("count an attempt: %w", err)
	}
	return refused, wait, nil
}

// Succeeded takes back what Attempt counted: all failures of the first, one of
// each of the others.
func (db *DB) Succeeded(ctx context.Context, limits ...ci.Limit) error {
	err := db.write(ctx, func(t *tx) error {
		for i, l := range limits {
			text := "UPDATE attempts SET failures = failures - 1 WHERE what = $1 AND failures > 0"
			if i == 0 {
				text = "DELETE FROM attempts WHERE what = $1"
			}
			if _, err := t.exec(text, plain(l.What)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take back an attempt: %w", err)
	}
	return nil
}

// PutCode stores a new code.
func (db *DB) PutCode(ctx context.Context, c ci.Code) error {
	if c.Hash == "" || c.Kind == "" {
		return fmt.Errorf("code: want a hash and a kind: %w", ci.ErrInvalid)
	}
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO codes (hash, kind, owner, expires, data) VALUES ($1, $2, $3, $4, $5)",
			c.Hash, c.Kind, plain(c.Owner), nanos(c.Expires), plain(c.Data))
		return err
	})
	if err != nil {
		return fmt.Errorf("store a code: %w", err)
	}
	return nil
}

// Code looks at a code and leaves it; one that is not there or has expired is
// ci.ErrNotFound.
func (db *DB) Code(ctx context.Context, kind, hash string) (c ci.Code, err error) {
	c = ci.Code{Hash: hash, Kind: kind}
	var expires int64
	err = db.query(ctx, func(r *sql.Rows) error { return r.Scan(&c.Owner, &expires, &c.Data) },
		"SELECT owner, expires, data FROM codes WHERE hash = $1 AND kind = $2", plain(hash), kind)
	c.Expires = moment(expires)
	if err == nil && (expires == 0 || !db.opt.Now().Before(c.Expires)) {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Code{}, fmt.Errorf("code: %w", err)
	}
	return c, nil
}

// TakeCode is Code for the one who uses it: of many at once, one gets it.
func (db *DB) TakeCode(ctx context.Context, kind, hash string) (c ci.Code, err error) {
	err = db.write(ctx, func(t *tx) error {
		var expires int64
		c = ci.Code{Hash: hash, Kind: kind}
		found, err := t.returning([]any{&c.Owner, &expires, &c.Data}, "DELETE FROM codes WHERE hash = $1 AND kind = $2 RETURNING owner, expires, data", plain(hash), kind)
		if c.Expires = moment(expires); err == nil && (!found || !db.opt.Now().Before(c.Expires)) {
			c = ci.Code{}
		}
		return err
	})
	if err == nil && c.Kind == "" {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Code{}, fmt.Errorf("code: %w", err)
	}
	return c, nil
}

// expiredStay is how long lists still show tokens that have expired.
const expiredStay = 30 * 24 * time.Hour

// TrimLogins removes what is of no more use: expired codes and tokens, attempts of
// long ago.
func (db *DB) TrimLogins(ctx context.Context) error {
	now := db.opt.Now()
	err := db.write(ctx, func(t *tx) error {
		for text, before := range map[string]time.Time{
			"DELETE FROM codes WHERE expires < $1":                   now,
			"DELETE FROM attempts WHERE last < $1":                   now.Add(-forgetAfter),
			"DELETE FROM tokens WHERE expires <> 0 AND expires < $1": now.Add(-expiredStay),
		} {
			if _, err := t.exec(text, nanos(before)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove old logins: %w", err)
	}
	return nil
}
