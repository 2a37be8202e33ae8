package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"slices"

	"github.com/jackc/pgx/v5/stdlib"
)

// tables is what of a dialect a copy of a whole database needs. It asks the
// database which tables it has, so that none is forgotten.
type tables interface {
	reader() (*sql.DB, error) // a pool that changes nothing, and makes nothing
	freeze() string           // begins a transaction that sees one state to its end
	tableNames() string       // a query: tables in the order in which they were made
	columnNames() string      // a query: columns of table $1, in order
	// last is the highest number that a table's {serial} column gave; 0 = none, or no such column.
	last(ctx context.Context, c *sql.Conn, table string) (int64, error)
	setLast(ctx context.Context, c *sql.Conn, table string, last int64) error
	overriding() string // between columns and VALUES, for numbers of a {serial} column to be taken as they are
	check(ctx context.Context, c *sql.Conn) (wrong []string, err error)
}

// ownTables are those of the database's own: which migrations it had, and which
// processes write to it. They are not copied.
var ownTables = []string{"schema_version", "writers"}

// names gives the number of columns of each table.
func (s *Snapshot) names(ctx context.Context) (map[string]int, error) {
	list, err := tableList(ctx, s.dialect, s.conn)
	names := map[string]int{}
	for _, t := range list {
		names[t.name] = len(t.columns)
	}
	return names, err
}

// tableShape is a table's name and columns.
type tableShape struct {
	name    string
	columns []string
}

func tableList(ctx context.Context, d tables, c *sql.Conn) (list []tableShape, err error) {
	texts := func(query string, args ...any) (list []string, err error) {
		rows, err := c.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		err = each(rows, func(r *sql.Rows) error {
			var text string
			err := r.Scan(&text)
			list = append(list, text)
			return err
		})
		return list, err
	}
	names, err := texts(d.tableNames())
	for _, name := range names {
		if err != nil {
			break
		}
		t := tableShape{name: name}
		t.columns, err = texts(d.columnNames(), name)
		list = append(list, t)
	}
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	return list, nil
}

// copied says whether a table is part of a copy.
func (t tableShape) copied() bool { return !slices.Contains(ownTables, t.name) }

func (s *sqliteDB) reader() (*sql.DB, error) {
	q := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "query_only(1)"}}
	return sql.Open("sqlite", "file:"+(&url.URL{Path: s.path}).EscapedPath()+"?"+q.Encode())
}

// freeze: the first read fixes what the transaction sees.
func (s *sqliteDB) freeze() string { return "BEGIN; SELECT COUNT(*) FROM sqlite_master" }

func (s *sqliteDB) tableNames() string {
	return `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid`
}

func (s *sqliteDB) columnNames() string {
	return "SELECT name FROM pragma_table_info($1) ORDER BY cid"
}

func (s *sqliteDB) last(ctx context.Context, c *sql.Conn, table string) (n int64, err error) {
	err = c.QueryRowContext(ctx, "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = $1", table).Scan(&n)
	return n, err
}

func (s *sqliteDB) setLast(ctx context.Context, c *sql.Conn, table string, last int64) error {
	if _, err := c.ExecContext(ctx, "DELETE FROM sqlite_sequence WHERE name = $1", table); err != nil {
		return err
	}
	_, err := c.ExecContext(ctx, "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)", table, last)
	return err
}

func (s *sqliteDB) overriding() string { return "" }

func (s *sqliteDB) check(ctx context.Context, c *sql.Conn) (wrong []string, err error) {
	rows, err := c.QueryContext(ctx, "PRAGMA integrity_check")
	if err != nil {
		return nil, err
	}
	err = each(rows, func(r *sql.Rows) error {
		var text string
		err := r.Scan(&text)
		if text != "ok" {
			wrong = append(wrong, "SQLite: "+text)
		}
		return err
	})
	if err != nil {
		return wrong, err
	}
	if rows, err = c.QueryContext(ctx, "PRAGMA foreign_key_check"); err != nil {
		return wrong, err
	}
	err = each(rows, func(r *sql.Rows) error {
		var table, parent string
		var row sql.NullInt64
		var key int
		err := r.Scan(&table, &row, &parent, &key)
		wrong = append(wrong, fmt.Sprintf("row %d of %s refers to a row of %s that is missing", row.Int64, table, parent))
		return err
	})
	return wrong, err
}

func (p *postgresDB) reader() (*sql.DB, error) {
	config := p.config.Copy()
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0" // nobody waits for a reader
	config.RuntimeParams["default_transaction_read_only"] = "on"
	return stdlib.OpenDB(*config), nil
}

func (p *postgresDB) freeze() string {
	return "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1"
}

func (p *postgresDB) tableNames() string {
	return "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace ORDER BY oid"
}

func (p *postgresDB) columnNames() string {
	return `SELECT attname::text FROM pg_attribute WHERE attrelid = (SELECT oid FROM pg_class WHERE relname = $1 AND relnamespace = current_schema()::regnamespace)
		AND attnum > 0 AND NOT attisdropped ORDER BY attnum`
}

// sequence is that of a table's {serial} column; "" = it has none.
func (p *postgresDB) sequence(ctx context.Context, c *sql.Conn, table string) (name string, err error) {
	rows, err := c.QueryContext(ctx, `SELECT pg_get_serial_sequence(quote_ident(current_schema()) || '.' || quote_ident($1), column_name::text)
		FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'`, table)
	if err != nil {
		return "", err
	}
	err = each(rows, func(r *sql.Rows) error { return r.Scan(&name) })
	return name, err
}

func (p *postgresDB) last(ctx context.Context, c *sql.Conn, table string) (n int64, err error) {
	sequence, err := p.sequence(ctx, c, table)
	if err != nil || sequence == "" {
		return 0, err
	}
	// The name is quoted where it has to be.
	err = c.QueryRowContext(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM "+sequence).Scan(&n)
	return n, err
}

func (p *postgresDB) setLast(ctx context.Context, c *sql.Conn, table string, last int64) error {
	sequence, err := p.sequence(ctx, c, table)
	if err != nil || sequence == "" {
		return err
	}
	_, err = c.ExecContext(ctx, "SELECT setval($1::text::regclass, $2)", sequence, last)
	return err
}

func (p *postgresDB) overriding() string { return "OVERRIDING SYSTEM VALUE " }

// check: PostgreSQL keeps its constraints itself; that every row can be read is
// seen by reading it.
func (p *postgresDB) check(ctx context.Context, c *sql.Conn) (wrong []string, err error) {
	list, err := tableList(ctx, p, c)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		_, err := readTable(ctx, c, t, func([]any) error { return nil })
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("PostgreSQL: table %s: %v", t.name, err))
			return wrong, nil //nolint:nilerr // it is what is reported, and after it nothing more can be read
		}
	}
	return wrong, nil
}
