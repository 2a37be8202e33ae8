package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Options of a DB. The zero value is fine.
type Options struct {
	Now func() time.Time // nil = time.Now
	Log *slog.Logger     // nil = nowhere
	// Patience is for how long a write waits for a database that went away; 0 = 30 seconds.
	Patience time.Duration
	// Observe is told of each attempt to commit: of how many changes, and how long
	// it took. nil = nobody is.
	Observe func(changes int, took time.Duration)
}

// DB keeps builds, projects, users and tokens in SQLite or PostgreSQL. It is
// what `sluice serve` uses. Its methods are safe from several goroutines.
//
// All that changes anything goes through one writer (writer.go), and is on the
// disk when the method returns. Reads have connections of their own and see what
// was committed.
type DB struct {
	opt     Options
	dialect dialect
	reads   *sql.DB
	writer  *writer
	stmts   statements
	decoded decodedRecords
	seen    seenProjects

	queueMu sync.RWMutex // held to read while something is put into the queue
	closed  bool
	queue   chan *request

	stop       context.CancelFunc // ends what works beside: listening, deleting, waiting for a lost database
	background sync.WaitGroup

	sequels atomic.Int64 // what came of builds, counted

	wakeMu  sync.Mutex
	changed chan struct{} // closed and replaced at each commit
}

// OpenDB opens the database that url names: "postgres://…", or "sqlite:PATH", or
// a path. It is made if missing and brought up to date. A database that a newer
// sluice has changed, and an SQLite file that another process has open, are
// refused with ci.ErrConflict.
func OpenDB(ctx context.Context, url string, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	d, err := named(ctx, url, func(path string) (dialect, error) { return newSQLite(path) })
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, d, o)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return db, nil
}

func open(ctx context.Context, d dialect, o Options) (*DB, error) {
	readers, writers, err := d.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	db := &DB{
		opt: o, dialect: d, reads: readers, stmts: statements{db: readers},
		queue: make(chan *request, maxGroup), changed: make(chan struct{}), stop: stop,
	}
	db.writer = newWriter(background, db, writers)
	if err := migrate(ctx, db.writer, migrations()); err != nil {
		stop()
		return nil, errors.Join(err, db.writer.close(), readers.Close())
	}
	db.background.Go(db.writer.run)
	ready := make(chan struct{})
	db.background.Go(func() { d.listen(background, ready, db.wake) })
	db.background.Go(func() { db.finishDeleting(background) })
	db.background.Go(func() { db.finishMetering(background) })
	select {
	case <-ready:
		return db, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("open database: %w", context.Cause(ctx)), db.shut())
	}
}

// Close waits for the writes that were begun and lets go of the database.
func (db *DB) Close() error {
	if err := db.shut(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	if err := db.dialect.close(); err != nil && !errors.Is(err, errTwiceClosed) {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

func (db *DB) shut() error {
	db.stop()
	db.queueMu.Lock()
	if db.closed {
		db.queueMu.Unlock()
		return nil
	}
	db.closed = true
	close(db.queue)
	db.queueMu.Unlock()
	db.background.Wait()
	db.stmts.close()
	// The readers first: the last connection to an SQLite file tidies up, and
	// only one that may write can.
	return errors.Join(db.reads.Close(), db.writer.close())
}

// Changed gives a channel that is closed at the next commit, of this process or,
// with PostgreSQL, of any. Take it, read, and wait on it only when nothing was read.
func (db *DB) Changed() <-chan struct{} {
	db.wakeMu.Lock()
	defer db.wakeMu.Unlock()
	return db.changed
}

func (db *DB) wake() {
	db.wakeMu.Lock()
	defer db.wakeMu.Unlock()
	close(db.changed)
	db.changed = make(chan struct{})
}

// fault says what an error of the database means, in words a person can act on.
func (db *DB) fault(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	switch db.dialect.kind(err) {
	case errorFull:
		return fmt.Errorf("the disk of the database is full; free some space: %w: %w", err, ci.ErrUnavailable)
	case errorGone, errorRetry:
		return fmt.Errorf("the database cannot be reached: %w: %w", err, ci.ErrUnavailable)
	case errorTwice:
		return fmt.Errorf("%w: %w", err, ci.ErrConflict)
	}
	return err
}

// query reads rows, calling scan for each.
func (db *DB) query(ctx context.Context, scan func(*sql.Rows) error, text string, args ...any) error {
	var rows *sql.Rows
	var err error
	if db.dialect.prepares() {
		var s *sql.Stmt
		if s, err = db.stmts.get(ctx, text); err == nil {
			rows, err = s.QueryContext(ctx, args...)
		}
	} else {
		rows, err = db.reads.QueryContext(ctx, text, args...)
	}
	if err != nil {
		return db.fault(err)
	}
	return db.fault(each(rows, scan))
}

func each(rows *sql.Rows, scan func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// statements are prepared once and kept. There are as many as there are shapes
// of queries, which is not many.
type statements struct {
	db   *sql.DB
	mu   sync.Mutex
	kept map[string]*sql.Stmt
}

func (s *statements) get(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.kept[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if s.kept == nil {
		s.kept = map[string]*sql.Stmt{}
	}
	s.kept[text] = stmt
	return stmt, nil
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.kept {
		_ = stmt.Close()
	}
	s.kept = nil
}

// nanos and moment are how times are stored: nanoseconds since 1970, 0 = none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// plain makes a column of text that a person or a program may have given: every
// database takes it. What was given is in the event, unchanged.
func plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
