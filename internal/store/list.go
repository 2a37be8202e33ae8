package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Filter chooses builds. Zero values choose all.
type Filter struct {
	Project   string
	Status    []ci.Status // any of them
	Ref       string      // refs/heads/main, or main: a branch or tag of that name
	Commit    string      // a hash, or its beginning
	Initiator string
	Number    int64
	Since     time.Time // queued then or later
	Until     time.Time // queued before
	Limit     int       // builds in a page: 50 unless said, 1,000 at most
	Cursor    string    // what the page before gave as next
}

const (
	usualPage = 50
	maxPage   = 1000
)

// Builds lists builds, those queued last first, without jobs, plan, problems and
// variables. next continues the list and is "" at its end; builds that were made
// in between neither move nor repeat anything.
func (db *DB) Builds(ctx context.Context, f Filter) (page []ci.Build, next string, err error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return nil, "", fmt.Errorf("list builds: %w", err)
	}
	q := newListQuery(f)
	if f.Cursor != "" {
		queued, row, err := readCursor(f.Cursor, q.shape)
		if err != nil {
			return nil, "", fmt.Errorf("list builds: %w", err)
		}
		q.after(queued, row)
	}
	var queued, row int64
	more := false
	err = db.query(ctx, func(r *sql.Rows) error {
		if more = len(page) == limit; more {
			return nil
		}
		var record sql.RawBytes
		if err := r.Scan(&queued, &row, &record); err != nil {
			return err
		}
		b, err := db.decoded.build(record)
		page = append(page, b)
		return err
	}, q.text(limit+1), q.args...)
	if err != nil {
		return nil, "", fmt.Errorf("list builds: %w", err)
	}
	if more {
		next = writeCursor(queued, row, q.shape)
	}
	return page, next, nil
}

// decodedRecords remembers what records say, by their text: reading JSON is most
// of the work of a list, and lists mostly show the same newest builds. A listed
// build has nothing in it that could be changed through a copy.
type decodedRecords struct {
	mu    sync.Mutex
	known map[string]ci.Build
}

// maxDecoded is a few MB at most.
const maxDecoded = 1024

func (d *decodedRecords) build(record []byte) (ci.Build, error) {
	d.mu.Lock()
	b, ok := d.known[string(record)]
	d.mu.Unlock()
	if ok {
		return b, nil
	}
	if err := json.Unmarshal(record, &b); err != nil {
		return b, fmt.Errorf("record of a build: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= maxDecoded {
		d.known = make(map[string]ci.Build, maxDecoded)
	}
	d.known[string(record)] = b
	return b, nil
}

func pageSize(limit int) (int, error) {
	switch {
	case limit < 0 || limit > maxPage:
		return 0, fmt.Errorf("limit %d: want 1 to %d: %w", limit, maxPage, ci.ErrInvalid)
	case limit == 0:
		return usualPage, nil
	}
	return limit, nil
}

// listQuery is a SELECT under construction. A filter that lets several values of
// one column through becomes a SELECT for each of them, put together in order:
// each of them then reads just the first few entries of an index.
type listQuery struct {
	args   []any
	where  []string
	either []string
	shape  uint32 // a sum of the filter: a cursor is good for one listing only
}

func newListQuery(f Filter) *listQuery {
	q := &listQuery{}
	if f.Project != "" {
		q.and("project = ", plain(f.Project))
	}
	if f.Number != 0 {
		q.and("number > 0 AND number = ", f.Number)
	}
	if f.Initiator != "" {
		q.and("initiator = ", plain(f.Initiator))
	}
	if !f.Since.IsZero() {
		q.and("queued >= ", nanos(f.Since))
	}
	if !f.Until.IsZero() {
		q.and("queued < ", nanos(f.Until))
	}
	switch c := plain(f.Commit); {
	case len(c) >= 40:
		q.and("commit_id = ", c)
	case c != "":
		q.and("commit_id >= ", c)
		q.and("commit_id < ", c+"\U0010FFFF")
	}
	refs := []string{plain(f.Ref)}
	if !strings.HasPrefix(f.Ref, "refs/") {
		refs = append(refs, "refs/heads/"+refs[0], "refs/tags/"+refs[0])
	}
	statuses := make([]string, len(f.Status))
	for i, s := range f.Status {
		statuses[i] = q.param(string(s))
	}
	switch {
	case f.Ref != "":
		if len(statuses) > 0 {
			q.where = append(q.where, "status IN ("+strings.Join(statuses, ", ")+")")
		}
		for _, r := range refs {
			q.either = append(q.either, "ref = "+q.param(r))
		}
	default:
		for _, s := range statuses {
			q.either = append(q.either, "status = "+s)
		}
	}
	q.shape = crc32.ChecksumIEEE(fmt.Appendf(nil, "%q %q %q", q.where, q.either, q.args))
	return q
}

func (q *listQuery) param(value any) string {
	q.args = append(q.args, value)
	return "$" + strconv.Itoa(len(q.args))
}

func (q *listQuery) and(condition string, value any) {
	q.where = append(q.where, condition+q.param(value))
}

func (q *listQuery) after(queued, row int64) {
	q.where = append(q.where, "(queued, row) < ("+q.param(queued)+", "+q.param(row)+")")
}

func (q *listQuery) text(limit int) string {
	tail := " ORDER BY queued DESC, row DESC LIMIT " + q.param(limit)
	one := func(conditions []string) string {
		text := "SELECT queued, row, record FROM builds"
		if len(conditions) > 0 {
			text += " WHERE " + strings.Join(conditions, " AND ")
		}
		return text + tail
	}
	if len(q.either) < 2 {
		return one(append(q.where[:len(q.where):len(q.where)], q.either...))
	}
	parts := make([]string, len(q.either))
	for i, c := range q.either {
		parts[i] = "SELECT * FROM (" + one(append(q.where[:len(q.where):len(q.where)], c)) + ") AS part" + strconv.Itoa(i)
	}
	return "SELECT queued, row, record FROM (" + strings.Join(parts, " UNION ALL ") + ") AS parts" + tail
}

// writeCursor says where a page ended. It is checked when it comes back, because
// it comes from outside.
func writeCursor(queued, row int64, shape uint32) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(queued))
	b = binary.BigEndian.AppendUint64(b, uint64(row))
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, cursorSum(b, shape)))
}

func readCursor(text string, shape uint32) (queued, row int64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 20 || binary.BigEndian.Uint32(b[16:]) != cursorSum(b[:16], shape) {
		return 0, 0, fmt.Errorf("cursor %q is not one that this listing gave; begin again without it: %w", text, ci.ErrInvalid)
	}
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), nil
}

func cursorSum(b []byte, shape uint32) uint32 {
	return crc32.ChecksumIEEE(binary.BigEndian.AppendUint32(append([]byte("builds"), b...), shape))
}

// BuildByNumber finds a build by what people call it.
func (db *DB) BuildByNumber(ctx context.Context, project string, number int64) (ci.BuildID, error) {
	var id ci.BuildID
	err := db.query(ctx, func(r *sql.Rows) error { return r.Scan(&id) },
		"SELECT id FROM builds WHERE project = $1 AND number = $2 AND number > 0", plain(project), number)
	if err == nil && id == "" {
		err = ci.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("build %s/%d: %w", project, number, err)
	}
	return id, nil
}
