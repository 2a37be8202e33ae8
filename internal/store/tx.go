package store

import (
	"database/sql"
	"database/sql/driver"
	"os"

	"github.com/sluice-ci/sluice/internal/ci"
)

// errDiscard makes a pool drop a connection.
var errDiscard = driver.ErrBadConn

// errTwiceClosed is what a lock file says that was closed already.
var errTwiceClosed = os.ErrClosed

// control runs BEGIN, COMMIT and the like.
func (t *tx) control(text string) error {
	if !t.w.db.dialect.prepares() {
		_, err := t.w.conn.ExecContext(t.ctx, text)
		return err
	}
	s, err := t.prepared(text)
	if err == nil {
		_, err = s.ExecContext(t.ctx)
	}
	return err
}

// rollback ends the transaction without a trace.
func (t *tx) rollback(lost bool) {
	t.forget()
	if lost {
		return
	}
	// It fails where the database has rolled back by itself; then all is well.
	if err := t.control("ROLLBACK"); err != nil && t.w.db.dialect.lost(t.w.conn, err) {
		t.w.disconnect()
	}
}

// forget drops what was remembered of the builds that the transaction looked at.
func (t *tx) forget() {
	for id := range t.touched {
		delete(t.w.folds, id)
	}
}

func (t *tx) prepared(text string) (*sql.Stmt, error) {
	if s := t.w.stmts[text]; s != nil {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(t.ctx, text)
	if err == nil {
		t.w.stmts[text] = s
	}
	return s, err
}

// exec changes rows and says how many.
func (t *tx) exec(text string, args ...any) (int64, error) {
	t.writes++
	var result sql.Result
	var err error
	if t.w.db.dialect.prepares() {
		var s *sql.Stmt
		if s, err = t.prepared(text); err == nil {
			result, err = s.ExecContext(t.ctx, args...)
		}
	} else {
		result, err = t.w.conn.ExecContext(t.ctx, text, args...)
	}
	if err != nil {
		return 0, t.fail(err)
	}
	n, err := result.RowsAffected()
	return n, t.fail(err)
}

// returning is exec for a statement that answers with one row, or none.
func (t *tx) returning(into []any, text string, args ...any) (found bool, err error) {
	t.writes++
	return t.row(into, text, args...)
}

// row reads the first row, if there is one.
func (t *tx) row(into []any, text string, args ...any) (found bool, err error) {
	err = t.rows(func(r *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(into...)
	}, text, args...)
	return found, err
}

// rows reads all rows.
func (t *tx) rows(scan func(*sql.Rows) error, text string, args ...any) error {
	var rows *sql.Rows
	var err error
	if t.w.db.dialect.prepares() {
		var s *sql.Stmt
		if s, err = t.prepared(text); err == nil {
			rows, err = s.QueryContext(t.ctx, args...)
		}
	} else {
		rows, err = t.w.conn.QueryContext(t.ctx, text, args...)
	}
	if err != nil {
		return t.fail(err)
	}
	return t.fail(each(rows, scan))
}

func (t *tx) fail(err error) error {
	if err != nil && t.broken == nil {
		t.broken = err
	}
	return err
}

// fold is what is remembered of a build so that its next transition can be
// checked without reading it: the build with nothing but names and statuses.
type fold struct {
	build ci.Build
	seq   int64
}

// maxFolds bounds the memory for builds that are not done.
const maxFolds = 4096

// fold finds a build, done or not. What is done to it counts only when the
// transaction commits; until then, and for ever if it does not, it is read again.
func (t *tx) fold(id ci.BuildID) (*fold, error) {
	t.touched[id] = true
	if f := t.w.folds[id]; f != nil {
		return f, nil
	}
	f := &fold{}
	err := t.rows(func(r *sql.Rows) error {
		e, err := scanEvent(r, id)
		if err != nil {
			return err
		}
		return f.apply(e)
	}, selectEvents, string(id))
	if err != nil || f.seq == 0 {
		return f, err
	}
	t.remember(id, f)
	return f, nil
}

func (t *tx) remember(id ci.BuildID, f *fold) {
	t.touched[id] = true
	if len(t.w.folds) >= maxFolds {
		for other := range t.w.folds {
			delete(t.w.folds, other)
			break
		}
	}
	t.w.folds[id] = f
}

// apply takes the fold on by one event, and drops all that no later event looks at.
func (f *fold) apply(e ci.Event) error {
	if err := f.build.Apply(e); err != nil {
		return err
	}
	f.seq = e.Seq
	f.slim(e)
	return nil
}

// slim makes slices of its own: those of the event belong to whoever made it.
func (f *fold) slim(e ci.Event) {
	j := f.build.Job(e.Job)
	switch {
	case j != nil && e.Step != "" && j.Step(e.Step) != nil:
		s := j.Step(e.Step)
		*s = ci.StepRun{ID: s.ID, Status: s.Status}
	case j != nil && e.Step == "":
		*j = slimJob(*j)
	default:
		jobs := make([]ci.JobRun, len(f.build.Jobs))
		for i, j := range f.build.Jobs {
			jobs[i] = slimJob(j)
		}
		f.build = ci.Build{ID: f.build.ID, Status: f.build.Status, Jobs: jobs}
	}
}

func slimJob(j ci.JobRun) ci.JobRun {
	steps := make([]ci.StepRun, len(j.Steps))
	for i, s := range j.Steps {
		steps[i] = ci.StepRun{ID: s.ID, Status: s.Status}
	}
	return ci.JobRun{ID: j.ID, Status: j.Status, Steps: steps}
}
