package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// UsageFilter chooses metered jobs, and what they are grouped by.
type UsageFilter struct {
	By       []string // of ci.UsageKeys, in the order of sorting; none = one sum for each currency
	Project  string
	Branch   string // as a build's Ref
	User     string
	Projects []string  // only these, where it is not nil
	Since    time.Time // the day of it, in UTC, and later
	Until    time.Time // before the day of it
	Limit    int
	Cursor   string
}

// usageColumn is the column, or what is made of one, that a key stands for.
func usageColumn(key string) string {
	switch key {
	case "day", "project", "executor", "type", "size":
		return key
	case "month":
		return "substr(day, 1, 7)"
	case "branch":
		return "ref"
	case "user":
		return "initiator"
	}
	return ""
}

// usageField is where the value of a key goes.
func usageField(r *ci.UsageRow, key string) *string {
	return map[string]*string{
		"day": &r.Day, "month": &r.Month, "project": &r.Project, "branch": &r.Branch, "user": &r.User,
		"executor": &r.Executor, "type": &r.Type, "size": &r.Size,
	}[key]
}

// Usage adds up metered jobs, sorted by what they are grouped by and then by
// currency. next is "" at the end.
func (db *DB) Usage(ctx context.Context, f UsageFilter) (page []ci.UsageRow, next string, err error) {
	limit, err := pageSize(f.Limit)
	var text string
	var args []any
	if err == nil {
		text, args, err = usageQuery(f, limit)
	}
	if err != nil {
		return nil, "", fmt.Errorf("add up usage: %w", err)
	}
	keys := append(slices.Clone(f.By), "currency")
	more := false
	err = db.query(ctx, func(r *sql.Rows) error {
		if more = len(page) == limit; more {
			return nil
		}
		var row ci.UsageRow
		var billed, cost int64
		into := make([]any, 0, len(keys)+5)
		for _, k := range f.By {
			into = append(into, usageField(&row, k))
		}
		into = append(into, &row.Currency, &row.Builds, &row.Jobs, &row.Seconds, &billed, &cost)
		err := r.Scan(into...)
		row.Minutes, row.Cost = float64(billed)/60, ci.Amount(cost)
		page = append(page, row)
		return err
	}, text, args...)
	if err != nil {
		return nil, "", fmt.Errorf("add up usage: %w", err)
	}
	if more {
		last := &page[len(page)-1]
		values := make([]string, 0, len(keys))
		for _, k := range f.By {
			values = append(values, *usageField(last, k))
		}
		next = writeUsageCursor(append(values, last.Currency), f.By)
	}
	return page, next, nil
}

func usageQuery(f UsageFilter, limit int) (text string, args []any, err error) {
	q := &listQuery{}
	var columns []string
	for i, k := range f.By {
		c := usageColumn(k)
		if c == "" || slices.Contains(f.By[:i], k) {
			return "", nil, fmt.Errorf("group by %q: want some of %s, each once: %w", k, strings.Join(ci.UsageKeys(), ", "), ci.ErrInvalid)
		}
		columns = append(columns, c)
	}
	columns = append(columns, "currency")
	if f.Project != "" {
		q.and("project = ", plain(f.Project))
	}
	if f.User != "" {
		q.and("initiator = ", plain(f.User))
	}
	if f.Branch != "" {
		b := plain(f.Branch)
		q.where = append(q.where, "ref IN ("+q.param(b)+", "+q.param("refs/heads/"+b)+", "+q.param("refs/tags/"+b)+")")
	}
	if !f.Since.IsZero() {
		q.and("day >= ", f.Since.UTC().Format(dayLayout))
	}
	if !f.Until.IsZero() {
		q.and("day < ", f.Until.UTC().Format(dayLayout))
	}
	if f.Projects != nil {
		in := make([]string, len(f.Projects))
		for i, p := range f.Projects {
			in[i] = q.param(p)
		}
		q.where = append(q.where, "project IN ("+strings.Join(append(in, "NULL"), ", ")+")")
	}
	if f.Cursor != "" {
		values, err := readUsageCursor(f.Cursor, f.By)
		if err != nil {
			return "", nil, err
		}
		in := make([]string, len(values))
		for i, v := range values {
			in[i] = q.param(v)
		}
		q.where = append(q.where, "("+strings.Join(columns, ", ")+") > ("+strings.Join(in, ", ")+")")
	}
	list := strings.Join(columns, ", ")
	text = "SELECT " + list + ", COUNT(DISTINCT build), COUNT(*), SUM(seconds), SUM(billed), SUM(cost) FROM metered"
	if len(q.where) > 0 {
		text += " WHERE " + strings.Join(q.where, " AND ")
	}
	return text + " GROUP BY " + list + " ORDER BY " + list + " LIMIT " + q.param(limit+1), q.args, nil
}

func writeUsageCursor(values, by []string) string {
	b, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, usageSum(b, by)))
}

func readUsageCursor(text string, by []string) (values []string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(b) > 4 && binary.BigEndian.Uint32(b[len(b)-4:]) == usageSum(b[:len(b)-4], by) {
		err = json.Unmarshal(b[:len(b)-4], &values)
		if err == nil && len(values) == len(by)+1 {
			for i := range values {
				values[i] = plain(values[i])
			}
			return values, nil
		}
	}
	return nil, fmt.Errorf("cursor %q is not one that this listing gave; begin again without it: %w", text, ci.ErrInvalid)
}

func usageSum(b []byte, by []string) uint32 {
	return crc32.ChecksumIEEE(fmt.Appendf(nil, "usage %s %q", b, by))
}
