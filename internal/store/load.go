package store

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

const (
	longestLine = 256 << 20 // of a dump: a build's plan is in one
	loadRows    = 100       // in one statement
)

// LoadDump makes the database that url names, which must not have been used yet, of
// a dump. It is all there in the end, read again and found equal, or nothing is. A
// dump of an older schema gives a database of that schema; OpenDB upgrades it. What
// is wrong with the dump is ci.ErrInvalid, a database in use ci.ErrConflict.
func LoadDump(ctx context.Context, url string, r io.Reader) (done Copied, err error) {
	d, err := named(ctx, url, func(path string) (dialect, error) { return newSQLite(path) })
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	readers, pool, err := d.open(ctx)
	if err != nil {
		return done, fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, readers.Close(), pool.Close()) }()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return done, fmt.Errorf("open database: %w: %w", err, ci.ErrUnavailable)
	}
	defer conn.Close()
	l := &loader{d: d, c: conn, in: bufio.NewReaderSize(r, 256<<10), done: Copied{Rows: map[string]int64{}}}
	if _, err := conn.ExecContext(ctx, d.begin()); err != nil {
		return done, fmt.Errorf("fill the database: %w", err)
	}
	err = l.run(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // a lost connection has rolled back
		if d.kind(err) == errorFull {
			err = fmt.Errorf("the disk of the database is full: %w: %w", err, ci.ErrUnavailable)
		}
		return l.done, fmt.Errorf("fill the database: %w", err)
	}
	return l.done, nil
}

type loader struct {
	d    dialect
	c    *sql.Conn
	in   *bufio.Reader
	n    int // lines read
	done Copied
}

// line reads the next one.
func (l *loader) line() ([]byte, error) {
	var text []byte
	for {
		part, err := l.in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case len(text) > longestLine:
			return nil, l.bad("a line is longer than %d bytes", longestLine)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil, l.bad("the copy is cut off")
		case err != nil:
			return nil, err
		}
		l.n++
		return bytes.TrimSuffix(text, []byte("\n")), nil
	}
}

func (l *loader) bad(format string, args ...any) error {
	return fmt.Errorf("the copy of the tables, line %d: %w: %w", l.n+1, fmt.Errorf(format, args...), ci.ErrInvalid)
}

func (l *loader) read(into any) error {
	text, err := l.line()
	if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		return l.bad("%w", err)
	}
	return nil
}

func (l *loader) run(ctx context.Context) error {
	var head dumpHead
	if err := l.read(&head); err != nil {
		return err
	}
	all := migrations()
	switch {
	case head.Format != dumpFormat:
		return l.bad("it is %.40q, want %q", head.Format, dumpFormat)
	case head.Schema < 1:
		return l.bad("its schema has version %d", head.Schema)
	case head.Schema > int64(len(all)):
		return fmt.Errorf("the copy is of schema version %d and this sluice knows versions up to %d; use a newer one: %w", head.Schema, len(all), ci.ErrConflict)
	}
	l.done.Schema = head.Schema
	if err := l.schema(ctx, all[:head.Schema]); err != nil {
		return err
	}
	list, err := tableList(ctx, l.d, l.c)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(t tableShape) bool { return !t.copied() })
	for _, t := range slices.Backward(list) { // what migrations put there is in the copy too
		if _, err := l.c.ExecContext(ctx, "DELETE FROM "+quoted([]string{t.name})); err != nil {
			return err
		}
	}
	for _, t := range list {
		if err := l.table(ctx, t); err != nil {
			return err
		}
	}
	var end dumpDone
	if err := l.read(&end); err != nil {
		return err
	}
	if !end.Done || end.Tables != len(l.done.Rows) {
		return l.bad("it says %d tables, and has %d", end.Tables, len(l.done.Rows))
	}
	if _, err := l.in.ReadByte(); !errors.Is(err, io.EOF) {
		return l.bad("something follows its end")
	}
	return nil
}

// schema makes the tables as they were in that version.
func (l *loader) schema(ctx context.Context, steps []migration) error {
	list, err := tableList(ctx, l.d, l.c)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, func(t tableShape) bool { return t.name == "schema_version" }); i >= 0 {
		return fmt.Errorf("it is in use already; name one that no server has used: %w", ci.ErrConflict)
	}
	if _, err := l.c.ExecContext(ctx, makeVersions); err != nil {
		return err
	}
	for _, m := range steps {
		if _, err := l.c.ExecContext(ctx, l.d.types().Replace(m.text)); err != nil {
			return fmt.Errorf("migration %d (%s): %w", m.version, m.name, err)
		}
		if _, err := l.c.ExecContext(ctx, noteVersion, m.version, m.name, nanos(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// table fills one, and reads it again.
func (l *loader) table(ctx context.Context, t tableShape) error {
	var head dumpTable
	if err := l.read(&head); err != nil {
		return err
	}
	// Names of the copy go no further than this comparison.
	if head.Table != t.name || !slices.Equal(sorted(head.Columns), sorted(t.columns)) {
		return l.bad("want table %s with the columns %v, got %.80q with %.400q", t.name, t.columns, head.Table, head.Columns)
	}
	t.columns = head.Columns
	var end dumpEnd
	var group [][]any
	var sum rowSum
	for n := int64(0); ; {
		text, err := l.line()
		if err != nil {
			return err
		}
		if len(text) > 0 && text[0] == '[' {
			values, err := rowValues(text)
			if err == nil && len(values) != len(t.columns) {
				err = fmt.Errorf("%d values for %d columns", len(values), len(t.columns))
			}
			if err == nil {
				err = sum.add(values)
			}
			if err != nil {
				return l.bad("%w", err)
			}
			n++
			if group = append(group, values); len(group) == loadRows {
				if err := l.insert(ctx, t, group); err != nil {
					return err
				}
				group = group[:0]
			}
			continue
		}
		if err := json.Unmarshal(text, &end); err != nil || end.End != t.name {
			return l.bad("want a row or the end of table %s", t.name)
		}
		if end.Rows != n || end.Sum != sum.text() {
			return l.bad("the rows of table %s are not those that were copied: %d, want %d, or their sum differs", t.name, n, end.Rows)
		}
		break
	}
	if len(group) > 0 {
		if err := l.insert(ctx, t, group); err != nil {
			return err
		}
	}
	if head.Last > 0 {
		if err := l.d.setLast(ctx, l.c, t.name, head.Last); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	again, err := readTable(ctx, l.c, t, func([]any) error { return nil })
	if err != nil {
		return fmt.Errorf("read table %s again: %w", t.name, err)
	}
	if again != end {
		return fmt.Errorf("table %s reads as %d rows (sum %s), want %d (sum %s)", t.name, again.Rows, again.Sum, end.Rows, end.Sum)
	}
	l.done.Rows[t.name] = end.Rows
	return nil
}

func (l *loader) insert(ctx context.Context, t tableShape, group [][]any) error {
	var args []any
	for _, values := range group {
		args = append(args, values...)
	}
	_, err := l.c.ExecContext(ctx, "INSERT INTO "+quoted([]string{t.name})+" ("+quoted(t.columns)+") "+l.d.overriding()+
		"VALUES "+tuples(len(group), len(t.columns)), args...)
	if err != nil {
		return fmt.Errorf("table %s, before line %d: %w", t.name, l.n, err)
	}
	return nil
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
