package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Holder finds a token by its hash together with its user, in one look: every
// request begins with it. Where one of them is not there it is ci.ErrNotFound.
// Whether the token has expired is the caller's to look at.
func (db *DB) Holder(ctx context.Context, hash string) (k ci.Token, u ci.User, err error) {
	found := false
	err = db.query(ctx, func(r *sql.Rows) error {
		var token, user sql.RawBytes
		var used int64
		if err := r.Scan(&token, &k.Hash, &used, &user, &u.Password); err != nil {
			return err
		}
		found = true
		if err := json.Unmarshal(token, &k); err != nil {
			return err
		}
		k.LastUsed = moment(used)
		return json.Unmarshal(user, &u)
	}, "SELECT t.record, t.hash, t.last_used, u.record, u.password FROM tokens t JOIN users u ON u.name = t.owner WHERE t.hash = $1", plain(hash))
	if err == nil && !found {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Token{}, ci.User{}, fmt.Errorf("token: %w", err)
	}
	return k, u, nil
}

// namesAtOnce is how many projects are looked up in one query. It is always as
// many, so that there is one statement.
const namesAtOnce = 50

// ProjectsNamed reads the projects of these names, those that are there, in one
// look. They are for looking at: what they hold others hold too.
func (db *DB) ProjectsNamed(ctx context.Context, names []string) (map[string]ci.Project, error) {
	found := make(map[string]ci.Project, len(names))
	for len(names) > 0 {
		some := names[:min(len(names), namesAtOnce)]
		names = names[len(some):]
		args := make([]any, namesAtOnce)
		for i := range args {
			args[i] = plain(some[min(i, len(some)-1)])
		}
		err := db.query(ctx, func(r *sql.Rows) error {
			var record sql.RawBytes
			if err := r.Scan(&record); err != nil {
				return err
			}
			p, err := db.seen.project(record)
			found[p.Name] = p
			return err
		}, selectNamed(), args...)
		if err != nil {
			return nil, fmt.Errorf("look up projects: %w", err)
		}
	}
	return found, nil
}

func selectNamed() string {
	var b strings.Builder
	b.WriteString("SELECT record FROM projects WHERE name IN ($1")
	for i := 2; i <= namesAtOnce; i++ {
		b.WriteString(", $" + strconv.Itoa(i))
	}
	return b.String() + ")"
}

// seenProjects remembers what the records of projects say, by their text: what is
// remembered is always what is stored.
type seenProjects struct {
	mu    sync.Mutex
	known map[string]ci.Project
}

// maxSeen is some MB for projects as they usually are.
const maxSeen = 1024

func (s *seenProjects) project(record []byte) (ci.Project, error) {
	s.mu.Lock()
	p, ok := s.known[string(record)]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	if err := json.Unmarshal(record, &p); err != nil {
		return p, fmt.Errorf("record of a project: %w", err)
	}
	if len(record) > 16<<10 {
		return p, nil // few are so big, and they would fill the memory
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= maxSeen {
		s.known = make(map[string]ci.Project)
	}
	s.known[string(record)] = p
	return p, nil
}
