package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Note writes an entry of the audit. It is on the disk when Note returns.
func (db *DB) Note(ctx context.Context, e ci.AuditEntry) error {
	if err := db.write(ctx, func(t *tx) error { return t.note(e) }); err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}

func (t *tx) note(e ci.AuditEntry) error {
	if e.Time.IsZero() {
		e.Time = t.w.db.opt.Now()
	}
	e.ID = 0
	record, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = t.exec("INSERT INTO audit (time, actor, verb, project, record) VALUES ($1, $2, $3, $4, $5)",
		nanos(e.Time), plain(e.User), plain(e.Verb), plain(e.Project), string(record))
	return err
}

type noteKey struct{}

// notes is an entry that waits for its change.
type notes struct {
	entry   ci.AuditEntry
	written atomic.Bool
}

// Noting has the next change that is made with the context, and that changes
// anything, write the entry in its own transaction. A build that it makes is
// named in the entry.
func Noting(ctx context.Context, e ci.AuditEntry) context.Context {
	return context.WithValue(ctx, noteKey{}, &notes{entry: e})
}

// Noted says whether the entry of Noting is written.
func Noted(ctx context.Context) bool {
	n, ok := ctx.Value(noteKey{}).(*notes)
	return ok && n.written.Load()
}

// noted makes a change write the entry that waits for it, if there is one; done
// is told once all of it is on the disk.
func noted(ctx context.Context, do func(*tx) error) (change func(*tx) error, done func()) {
	n, ok := ctx.Value(noteKey{}).(*notes)
	if !ok || n.written.Load() {
		return do, func() {}
	}
	wrote := false
	change = func(t *tx) error {
		before := t.writes
		t.made = nil
		err := do(t)
		if wrote = err == nil && t.writes > before; !wrote {
			return err
		}
		e := n.entry
		if b := t.made; b != nil {
			e.Build, e.Detail = b.ID, fmt.Sprintf("build %d%s", b.Number, e.Detail)
		}
		return t.note(e)
	}
	return change, func() { n.written.Store(wrote) }
}

// AuditFilter chooses entries. Zero values choose all.
type AuditFilter struct {
	User    string
	Project string
	Verb    string // "project.delete", or "project" for all of that kind
	Since   time.Time
	Until   time.Time
	Limit   int    // entries in a page: 50 unless said, 1,000 at most
	Cursor  string // what the page before gave as next
}

// Audit lists entries, the newest first. next continues the list and is "" at
// its end; entries that were written in between neither move nor repeat anything.
func (db *DB) Audit(ctx context.Context, f AuditFilter) (page []ci.AuditEntry, next string, err error) {
	page, next, err = db.audit(ctx, f)
	if err != nil {
		return nil, "", fmt.Errorf("list the audit: %w", err)
	}
	return page, next, nil
}

func (db *DB) audit(ctx context.Context, f AuditFilter) (page []ci.AuditEntry, next string, err error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return nil, "", err
	}
	q := &listQuery{}
	if f.User != "" {
		q.and("actor = ", plain(f.User))
	}
	if f.Project != "" {
		q.and("project = ", plain(f.Project))
	}
	switch verb := plain(f.Verb); {
	case strings.Contains(verb, "."):
		q.and("verb = ", verb)
	case verb != "":
		q.and("verb >= ", verb+".")
		q.and("verb < ", verb+"/") // the character after the dot
	}
	if !f.Since.IsZero() {
		q.and("time >= ", nanos(f.Since))
	}
	if !f.Until.IsZero() {
		q.and("time < ", nanos(f.Until))
	}
	shape := crc32.ChecksumIEEE(fmt.Appendf(nil, "audit %q %q", q.where, q.args))
	if f.Cursor != "" {
		at, id, err := readCursor(f.Cursor, shape)
		if err != nil {
			return nil, "", err
		}
		q.where = append(q.where, "(time, id) < ("+q.param(at)+", "+q.param(id)+")")
	}
	text := "SELECT time, id, record FROM audit"
	if len(q.where) > 0 {
		text += " WHERE " + strings.Join(q.where, " AND ")
	}
	text += " ORDER BY time DESC, id DESC LIMIT " + q.param(limit+1)
	var at, id int64
	err = db.query(ctx, func(r *sql.Rows) error {
		if len(page) == limit {
			next = writeCursor(at, id, shape)
			return nil
		}
		var record []byte
		if err := r.Scan(&at, &id, &record); err != nil {
			return err
		}
		var e ci.AuditEntry
		if err := json.Unmarshal(record, &e); err != nil {
			return fmt.Errorf("entry %d: %w", id, err)
		}
		e.ID = id
		page = append(page, e)
		return nil
	}, text, q.args...)
	return page, next, err
}

// entriesAtOnce is how many entries are removed in one transaction.
const entriesAtOnce = 1000

// TrimAudit removes the entries from before a time, a few at once so that others
// can write in between, and says how many those were.
func (db *DB) TrimAudit(ctx context.Context, before time.Time) (removed int64, err error) {
	for {
		var n int64
		err := db.write(ctx, func(t *tx) (err error) {
			n, err = t.exec("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE time < $1 ORDER BY time, id LIMIT $2)", nanos(before), entriesAtOnce)
			return err
		})
		if err != nil {
			return removed, fmt.Errorf("trim the audit: %w", err)
		}
		if removed += n; n < entriesAtOnce {
			return removed, nil
		}
	}
}
