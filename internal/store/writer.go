package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// maxGroup is how many requests go into one transaction at most.
const maxGroup = 256

// writer makes all changes, on one connection, in the order in which they were
// asked for. What arrives while one transaction is on its way to the disk goes
// into the next one together, so that the disk's speed limits transactions and
// not requests. Nobody is answered before the commit.
//
// A request that is refused before it has written anything leaves the others
// alone. When one fails later, the transaction is rolled back and each of them is
// done again on its own; so a request must be able to run more than once.
type writer struct {
	db   *DB
	pool *sql.DB
	ctx  context.Context // ends when a lost database is waited for no longer
	id   string          // in the table of writers
	last int64           // number of the last transaction

	conn  *sql.Conn // nil = to be made
	stmts map[string]*sql.Stmt
	folds map[ci.BuildID]*fold // of builds that are not done; each as committed
}

// request is a change that somebody waits for.
type request struct {
	do    func(*tx) error
	taken atomic.Bool // by the writer, or by a caller who no longer wants it
	done  chan struct{}
	err   error
}

// tx is a transaction under way.
type tx struct {
	sequels int64 // how often something came of a build
	w       *writer
	ctx     context.Context
	writes  int
	broken  error // of the first statement that failed: nothing more is possible
	touched map[ci.BuildID]bool
	made    *ci.Build // by the change that is being done, for its entry in the audit
}

func newWriter(ctx context.Context, db *DB, pool *sql.DB) *writer {
	return &writer{db: db, pool: pool, ctx: ctx, id: rand.Text(), stmts: map[string]*sql.Stmt{}, folds: map[ci.BuildID]*fold{}}
}

// write has the writer do a change and waits until it is on the disk. When ctx
// ends before its turn has come, nothing is done; after that, the answer is
// waited for, because only it says what is stored.
func (db *DB) write(ctx context.Context, do func(*tx) error) (err error) {
	do, noted := noted(ctx, do)
	defer func() {
		if err == nil {
			noted()
		}
	}()
	r := &request{do: do, done: make(chan struct{})}
	if err := db.enqueue(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			return context.Cause(ctx)
		}
	}
	<-r.done
	return r.err
}

func (db *DB) enqueue(ctx context.Context, r *request) error {
	db.queueMu.RLock()
	defer db.queueMu.RUnlock()
	if db.closed {
		return fmt.Errorf("the database is closed: %w", ci.ErrUnavailable)
	}
	select {
	case db.queue <- r:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run serves requests until the queue is closed and empty.
func (w *writer) run() {
	group := make([]*request, 0, maxGroup)
	for r := range w.db.queue {
		group = group[:0]
		for more := true; more; {
			if r.taken.CompareAndSwap(false, true) {
				group = append(group, r)
			}
			if more = len(group) < maxGroup; more {
				select {
				case r, more = <-w.db.queue:
				default:
					more = false
				}
			}
		}
		w.serve(group)
		for _, r := range group {
			close(r.done)
		}
	}
}

// serve does a group together, or, when one of them spoils that, each alone.
func (w *writer) serve(group []*request) {
	if observe := w.db.opt.Observe; observe != nil && len(group) > 0 {
		began := time.Now()
		defer func() { observe(len(group), time.Since(began)) }()
	}
	err := w.persist(group)
	if err == nil || len(group) == 0 {
		return
	}
	if len(group) == 1 || !errors.Is(err, errSpoiled) {
		for _, r := range group {
			r.err = w.db.fault(err)
		}
		return
	}
	for _, r := range group {
		if err := w.persist([]*request{r}); err != nil {
			r.err = w.db.fault(err)
		}
	}
}

var (
	// errSpoiled: one request of the group failed after it had written.
	errSpoiled = errors.New("a change could not be made")
	// errStale: what was remembered of a build is not what is stored; another process changed it.
	errStale = errors.New("another process changed the build")
)

type spoiled struct{ err error }

func (s *spoiled) Error() string   { return s.err.Error() }
func (s *spoiled) Unwrap() []error { return []error{errSpoiled, s.err} }

// persist tries until the group is stored, or cannot be. A database that went
// away is waited for; one that says "try again" is tried again.
func (w *writer) persist(group []*request) error {
	pause, began := pauses(), time.Now()
	for attempt := 1; ; attempt++ {
		lost, err := w.try(group)
		if err == nil {
			return nil
		}
		kind := w.db.dialect.kind(err)
		switch {
		case lost:
			w.disconnect()
			if time.Since(began) > w.db.opt.Patience || !pause(w.ctx) {
				return fmt.Errorf("the database cannot be reached; nothing was changed: %w: %w", err, ci.ErrUnavailable)
			}
		case len(group) > 1 && errors.Is(err, errSpoiled):
			return err
		case (kind == errorTwice || errors.Is(err, errStale)) && attempt == 1:
			// What was remembered is forgotten by now, so this asks the database.
		case kind == errorRetry && attempt < 10:
			if !pause(w.ctx) {
				return err
			}
		default:
			return err
		}
	}
}

// try does a group in one transaction. With an error nothing of it is stored;
// lost says that the connection is of no more use.
func (w *writer) try(group []*request) (lost bool, err error) {
	if w.conn == nil {
		if err := w.connect(); err != nil {
			return w.db.dialect.kind(err) == errorGone, err
		}
	}
	t := &tx{w: w, ctx: context.Background(), touched: map[ci.BuildID]bool{}}
	if w.db.dialect.mark() != "" {
		// A network can be silent for ever; a file cannot.
		ctx, cancel := context.WithTimeout(t.ctx, time.Minute)
		defer cancel()
		t.ctx = ctx
	}
	if err := t.control(w.db.dialect.begin()); err != nil {
		return w.db.dialect.lost(w.conn, err), err
	}
	for _, r := range group {
		before := t.writes
		r.err = r.do(t)
		if t.broken != nil || r.err != nil && t.writes != before {
			err := &spoiled{r.err}
			if r.err == nil {
				err.err = t.broken
			}
			lost = w.db.dialect.lost(w.conn, err)
			t.rollback(lost)
			return lost, err
		}
	}
	if t.writes == 0 {
		t.rollback(false)
		return false, nil
	}
	return w.commit(t)
}

// commit ends the transaction. When the connection is lost on the way, whether
// it was stored is found out before anybody is told anything.
func (w *writer) commit(t *tx) (lost bool, err error) {
	w.last++
	if mark := w.db.dialect.mark(); mark != "" {
		if n, err := t.exec(mark, w.id, w.last); err != nil || n != 1 {
			if err == nil {
				err = fmt.Errorf("writer %s is not in the table of writers: %w", w.id, ci.ErrUnavailable)
			}
			lost := w.db.dialect.lost(w.conn, err)
			t.rollback(lost)
			return lost, err
		}
	}
	err = t.control("COMMIT")
	if err != nil && w.db.dialect.lost(w.conn, err) {
		stored, unknown := w.outcome()
		if unknown != nil {
			t.forget()
			return false, fmt.Errorf("%w; whether the change was stored is not known: %w: %w", err, unknown, ci.ErrUnavailable)
		}
		if !stored {
			t.forget()
			return true, err
		}
		w.db.opt.Log.Warn("the connection to the database was lost during a commit, which was stored", "error", err)
		err = nil
	}
	if err != nil {
		t.rollback(false)
		return false, err
	}
	w.db.sequels.Add(t.sequels)
	w.db.wake()
	return false, nil
}

// outcome asks, on a new connection, for the last transaction of this writer. It
// takes the writers' lock for that, so the lost one has ended by then. It goes on
// until it knows, or the DB is closed.
func (w *writer) outcome() (stored bool, err error) {
	for pause := pauses(); ; {
		w.disconnect()
		if err = w.connect(); err == nil {
			t := &tx{w: w, ctx: w.ctx}
			if err = t.control(w.db.dialect.begin()); err == nil {
				var last int64
				_, err = t.row([]any{&last}, "SELECT last FROM writers WHERE id = $1", w.id)
				t.rollback(false)
				if err == nil {
					return last == w.last, nil
				}
			}
		}
		if !pause(w.ctx) {
			return false, err
		}
	}
}

func (w *writer) connect() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 30*time.Second)
	defer cancel()
	conn, err := w.pool.Conn(ctx)
	if err != nil {
		return err
	}
	w.conn = conn
	if w.db.dialect.mark() == "" {
		return nil
	}
	if _, err := conn.ExecContext(ctx, "INSERT INTO writers (id, last, opened) VALUES ($1, 0, $2) ON CONFLICT (id) DO NOTHING",
		w.id, nanos(w.db.opt.Now())); err != nil {
		w.disconnect()
		return err
	}
	return nil
}

func (w *writer) disconnect() {
	for text, s := range w.stmts {
		_ = s.Close()
		delete(w.stmts, text)
	}
	if w.conn != nil {
		// Out of the pool as well, whatever state it is in.
		_ = w.conn.Raw(func(any) error { return errDiscard })
		_ = w.conn.Close()
		w.conn = nil
	}
}

func (w *writer) close() error {
	if w.conn != nil && w.db.dialect.mark() != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), 5*time.Second)
		defer cancel()
		_, _ = w.conn.ExecContext(ctx, "DELETE FROM writers WHERE id = $1", w.id)
	}
	w.disconnect()
	return w.pool.Close()
}
