package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/filelock"
)

// sqliteDB is one file, of one process. What that process wrote it finds
// through the lock file beside it: SQLite's own locks would let two servers
// take turns, each with its own idea of which builds run.
type sqliteDB struct {
	path string
	lock *os.File
}

func newSQLite(path string) (*sqliteDB, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, fmt.Errorf("database %q: want the path of a file: %w", path, ci.ErrInvalid)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	s := &sqliteDB{path: path}
	if err := s.take(); err != nil {
		return nil, err
	}
	// Made here, so that it is nobody else's to read from the first moment on.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database: %w", err), s.close())
	}
	return s, nil
}

// deathThroes is how long a process that is dead may still have its files, by what
// it was just forking (filelock).
const deathThroes = 10 * time.Second

// take holds PATH.lock for as long as the process lives. The file stays when it
// ends: removing it could remove the lock of the next one.
func (s *sqliteDB) take() error {
	f, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("database %s: %w", s.path, err)
	}
	err = filelock.TryLock(f)
	if errors.Is(err, filelock.ErrTaken) {
		text, _ := os.ReadFile(f.Name())
		owner := strings.TrimSpace(string(text))
		taken := fmt.Errorf("database %s is in use by process %s; stop that server, or give this one a data directory of its own: %w",
			s.path, owner, ci.ErrConflict)
		if pid, bad := strconv.Atoi(owner); bad != nil || unix.Kill(pid, 0) != unix.ESRCH {
			_ = f.Close()
			return taken
		}
		patience, stop := context.WithTimeout(context.Background(), deathThroes)
		defer stop()
		if err = filelock.Lock(patience, f); errors.Is(err, filelock.ErrTaken) {
			return taken
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("lock database %s: %w", s.path, err)
	}
	s.lock = f
	return nil
}

func (s *sqliteDB) close() error { return filelock.Close(s.lock) }

func (s *sqliteDB) clock() string  { return "0" }
func (s *sqliteDB) prepares() bool { return true }

// begin takes the write lock at once. There is no other writer to wait for.
func (s *sqliteDB) begin() string { return "BEGIN IMMEDIATE" }

// mark is not needed: no connection can be lost on the way to a file.
func (s *sqliteDB) mark() string { return "" }

// types: AUTOINCREMENT, because the id of a row that was deleted must not come
// again: a reader that has passed it would never see the new one.
func (s *sqliteDB) types() *strings.Replacer {
	return strings.NewReplacer("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT", "{name}", "TEXT")
}

func (s *sqliteDB) open(ctx context.Context) (readers, writer *sql.DB, err error) {
	pool := func(connections int, pragmas ...string) (*sql.DB, error) {
		q := url.Values{"_pragma": append(pragmas, "busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)")}
		db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: s.path}).EscapedPath()+"?"+q.Encode())
		if err != nil {
			return nil, err
		}
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		return db, nil
	}
	if writer, err = pool(1, "journal_mode(WAL)", "journal_size_limit(67108864)"); err != nil {
		return nil, nil, err
	}
	var mode string
	if err = writer.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err == nil && mode != "wal" {
		err = fmt.Errorf("the file system of %s cannot hold a database that is read while it is written (journal mode is %s); put it on a local disk: %w",
			s.path, mode, ci.ErrUnavailable)
	}
	if err == nil {
		readers, err = pool(max(4, runtime.NumCPU()), "query_only(1)")
	}
	if err != nil {
		return nil, nil, errors.Join(err, writer.Close())
	}
	return readers, writer, nil
}

func (s *sqliteDB) kind(err error) errorKind {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errorOther
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CONSTRAINT:
		return errorTwice
	case lib.SQLITE_FULL:
		return errorFull
	case lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_READONLY, lib.SQLITE_BUSY, lib.SQLITE_NOMEM:
		return errorGone
	}
	return errorOther
}

func (s *sqliteDB) lost(*sql.Conn, error) bool { return false }

func (s *sqliteDB) listen(_ context.Context, ready chan<- struct{}, _ func()) { close(ready) }
