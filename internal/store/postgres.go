package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/sluice-ci/sluice/internal/ci"
)

// postgresDB is a schema of a PostgreSQL database, shared by any number of processes.
//
// Its sequences give numbers in the order of asking, not of committing, so a
// reader by cursor could pass a number that comes into being later. Therefore
// writers take turns: each transaction begins with one advisory lock, which
// PostgreSQL lets go of only after the commit can be seen. Group commit makes
// up for what that costs, and nothing can fail to serialise.
type postgresDB struct {
	config  *pgx.ConnConfig
	lock    int64  // key of the advisory lock, one for each schema
	channel string // of notifications, one for each schema
}

// A writer that hangs in mid-transaction holds up the other processes no longer than this.
const idleInTransaction = "10s"

func newPostgres(ctx context.Context, url string) (*postgresDB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// pgx leaves the password out of its messages.
		return nil, fmt.Errorf("database: %w: %w", err, ci.ErrInvalid)
	}
	config.RuntimeParams["application_name"] = "sluice"
	config.RuntimeParams["idle_in_transaction_session_timeout"] = idleInTransaction
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("database: %w: %w", err, ci.ErrUnavailable)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var schema *string
	if err := conn.QueryRow(ctx, "SELECT current_schema()::text").Scan(&schema); err != nil {
		return nil, fmt.Errorf("database: %w: %w", err, ci.ErrUnavailable)
	}
	if schema == nil {
		return nil, fmt.Errorf("database: no schema of its search_path exists; create it, or correct the search_path: %w", ci.ErrInvalid)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("sluice:" + *schema))
	key := int64(h.Sum64())
	return &postgresDB{config: config, lock: key, channel: fmt.Sprintf("sluice_%016x", uint64(key))}, nil
}

func (p *postgresDB) close() error   { return nil }
func (p *postgresDB) prepares() bool { return false } // pgx keeps them itself

func (p *postgresDB) begin() string {
	return fmt.Sprintf("BEGIN; SELECT pg_advisory_xact_lock(%d)", p.lock)
}

func (p *postgresDB) clock() string {
	return "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000"
}

// mark also tells the other processes: a notification goes out with the commit.
func (p *postgresDB) mark() string {
	return "UPDATE writers SET last = $2 WHERE id = $1 RETURNING pg_notify('" + p.channel + "', '')::text"
}

// types: names compare byte by byte, as in Go and in SQLite, whatever the database's language.
func (p *postgresDB) types() *strings.Replacer {
	return strings.NewReplacer("{serial}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "{name}", `TEXT COLLATE "C"`)
}

func (p *postgresDB) open(context.Context) (readers, writer *sql.DB, err error) {
	readers = stdlib.OpenDB(*p.config)
	readers.SetMaxOpenConns(16)
	readers.SetMaxIdleConns(4)
	readers.SetConnMaxIdleTime(5 * time.Minute)
	writer = stdlib.OpenDB(*p.config)
	writer.SetMaxOpenConns(1)
	return readers, writer, nil
}

func (p *postgresDB) kind(err error) errorKind {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		var connect *pgconn.ConnectError
		var network net.Error
		if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) ||
			errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
			return errorGone
		}
		return errorOther
	}
	switch {
	case e.Code == "40001", e.Code == "40P01":
		return errorRetry
	case strings.HasPrefix(e.Code, "23"):
		return errorTwice
	case e.Code == "53100":
		return errorFull
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57P"), e.Code == "25P03":
		return errorGone
	}
	return errorOther
}

func (p *postgresDB) lost(c *sql.Conn, err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || p.kind(err) == errorGone {
		return true
	}
	closed := false
	if err := c.Raw(func(dc any) error {
		closed = dc.(*stdlib.Conn).Conn().IsClosed()
		return nil
	}); err != nil {
		return true
	}
	return closed
}

// listen keeps one connection for notifications. While it is down commits may go
// unheard, so each new connection wakes the readers once.
func (p *postgresDB) listen(ctx context.Context, ready chan<- struct{}, wake func()) {
	pause := pauses()
	for ctx.Err() == nil {
		err := p.hear(ctx, func() {
			if ready != nil {
				close(ready)
				ready = nil
			}
			pause = pauses()
			wake()
		}, wake)
		if err != nil && !pause(ctx) {
			return
		}
	}
}

func (p *postgresDB) hear(ctx context.Context, begun, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, p.config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+p.channel); err != nil {
		return err
	}
	begun()
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
		wake()
	}
}

// pauses gives a function that waits before the next attempt to reach a database
// that is away: 10 ms, then twice as long each time, up to a second. False = ctx ended.
func pauses() func(context.Context) bool {
	next := 10 * time.Millisecond
	return func(ctx context.Context) bool {
		timer := time.NewTimer(next)
		defer timer.Stop()
		next = min(2*next, time.Second)
		select {
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
