package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

const selectEvents = "SELECT seq, time, type, job, step, status, data, why FROM events WHERE build = $1 AND seq > 0 ORDER BY seq"

func scanEvent(r *sql.Rows, build ci.BuildID) (ci.Event, error) {
	e := ci.Event{Build: build}
	var time int64
	var data, why string
	if err := r.Scan(&e.Seq, &time, &e.Type, &e.Job, &e.Step, &e.Status, &data, &why); err != nil {
		return e, err
	}
	e.Time, e.Data = moment(time), json.RawMessage(data)
	return e, explain(&e, why)
}

// explain reads what brought an event about.
func explain(e *ci.Event, why string) error {
	if why == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(why), &e.Why); err != nil {
		return fmt.Errorf("why of event %d of build %s: %w", e.Seq, e.Build, err)
	}
	return nil
}

// explanation is the reverse of explain.
func explanation(e ci.Event) (string, error) {
	if e.Why == nil {
		return "", nil
	}
	why, err := json.Marshal(e.Why)
	return string(why), err
}

// Append stores the events, all of the same build, as one transition: all or
// none. Events that the build's state does not permit, or that are not numbered
// on from what is stored, are refused with ci.ErrConflict. An event whose Seq is
// 0 gets the next number.
func (db *DB) Append(ctx context.Context, events ...ci.Event) error {
	if len(events) == 0 {
		return nil
	}
	id := events[0].Build
	if err := db.write(ctx, func(t *tx) error { return t.append(id, events) }); err != nil {
		return fmt.Errorf("store events of build %s: %w", id, err)
	}
	return nil
}

func (t *tx) append(id ci.BuildID, events []ci.Event) error {
	remembered := t.w.folds[id] != nil
	f, err := t.fold(id)
	if err != nil {
		return err
	}
	if f.seq == 0 && events[0].Type != ci.EventBuildQueued {
		return ci.ErrNotFound
	}
	before, known := f.build.Status, f.seq > 0
	numbered, summary, err := f.check(id, events)
	if err != nil {
		delete(t.w.folds, id) // some of the events may have been applied
		if remembered {
			// Another process may have taken the build on: what is stored decides.
			return t.append(id, events)
		}
		return err
	}
	switch {
	case !known:
		if err := t.insertBuild(*summary, ""); err != nil {
			return err
		}
		t.remember(id, f)
	case summary != nil:
		if err := t.updateBuild(*summary, before); err != nil {
			return err
		}
		if err := t.sequel(*summary, before); err != nil {
			return err
		}
	}
	if f.build.Status.Done() {
		delete(t.w.folds, id)
	}
	if err := t.meter(numbered); err != nil {
		return err
	}
	if err := t.report(numbered); err != nil {
		return err
	}
	return t.insertEvents(numbered)
}

// check applies the events. It gives them with their numbers, and the build as
// its row is to show it when one of them is about the build itself.
func (f *fold) check(id ci.BuildID, events []ci.Event) ([]ci.Event, *ci.Build, error) {
	numbered := make([]ci.Event, len(events))
	var summary *ci.Build
	for i, e := range events {
		if e.Build != id {
			return nil, nil, fmt.Errorf("events of builds %s and %s in one transition: %w", id, e.Build, ci.ErrInvalid)
		}
		if e.Seq == 0 {
			e.Seq = f.seq + 1
		}
		if e.Seq != f.seq+1 {
			return nil, nil, fmt.Errorf("event %d does not follow on event %d, the last that is stored: %w", e.Seq, f.seq, ci.ErrConflict)
		}
		if err := f.build.Apply(e); err != nil {
			return nil, nil, err
		}
		if f.build.ID != id {
			return nil, nil, fmt.Errorf("event %s says it is of build %s: %w", e.Type, f.build.ID, ci.ErrInvalid)
		}
		if e.Job == "" {
			s := listed(f.build)
			summary = &s
		}
		f.seq = e.Seq
		f.slim(e)
		numbered[i] = e
	}
	return numbered, summary, nil
}

// rowsAtOnce bounds one INSERT; PostgreSQL takes 65,535 parameters.
const rowsAtOnce = 64

func (t *tx) insertEvents(events []ci.Event) error {
	for len(events) > 0 {
		some := events[:min(len(events), rowsAtOnce)]
		events = events[len(some):]
		args := make([]any, 0, 9*len(some))
		for _, e := range some {
			why, err := explanation(e)
			if err != nil {
				return err
			}
			args = append(args, string(e.Build), e.Seq, nanos(e.Time), string(e.Type), string(e.Job), string(e.Step), string(e.Status), string(e.Data), why)
		}
		if _, err := t.exec("INSERT INTO events (build, seq, time, type, job, step, status, data, why) VALUES "+tuples(len(some), 9), args...); err != nil {
			return err
		}
	}
	return nil
}

// tuples writes rows of parameters: ($1, $2), ($3, $4).
func tuples(rows, columns int) string { return tuplesFrom(1, rows, columns) }

func tuplesFrom(first, rows, columns int) string {
	var b strings.Builder
	for i := range rows * columns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+first))
	}
	b.WriteString(")")
	return b.String()
}

// Load reads a build, done or not, and its events in order. A build that is not
// there is ci.ErrNotFound.
func (db *DB) Load(ctx context.Context, id ci.BuildID) (ci.Build, []ci.Event, error) {
	var b ci.Build
	var events []ci.Event
	err := db.query(ctx, func(r *sql.Rows) error {
		e, err := scanEvent(r, id)
		if err != nil {
			return err
		}
		events = append(events, e)
		return b.Apply(e)
	}, selectEvents, string(id))
	if err == nil && len(events) == 0 {
		err = ci.ErrNotFound
	}
	if err != nil {
		return ci.Build{}, nil, fmt.Errorf("build %s: %w", id, err)
	}
	return b, events, nil
}

// Open lists the builds that are not done, oldest first, whole.
func (db *DB) Open(ctx context.Context) ([]ci.Build, error) {
	var open []ci.Build
	err := db.query(ctx, func(r *sql.Rows) error {
		var id ci.BuildID
		var time int64
		var data string
		var e ci.Event // without its why, which makes nothing of a build
		if err := r.Scan(&id, &e.Seq, &time, &e.Type, &e.Job, &e.Step, &e.Status, &data); err != nil {
			return err
		}
		e.Build, e.Time, e.Data = id, moment(time), json.RawMessage(data)
		if len(open) == 0 || open[len(open)-1].ID != id {
			open = append(open, ci.Build{})
		}
		return open[len(open)-1].Apply(e)
	}, `SELECT e.build, e.seq, e.time, e.type, e.job, e.step, e.status, e.data
		FROM builds b JOIN events e ON e.build = b.id AND e.seq > 0
		WHERE b.status IN ('queued', 'running', 'waiting') ORDER BY b.queued, b.row, e.seq`)
	if err != nil {
		return nil, fmt.Errorf("list open builds: %w", err)
	}
	return open, nil
}

// Stamped is an event and its place among those of all builds.
type Stamped = ci.Stamped

const selectStamped = "SELECT id, build, seq, time, type, job, step, status, data, why FROM events "

func scanStamped(r *sql.Rows) (ci.Stamped, error) {
	var s ci.Stamped
	var time int64
	var data, why string
	if err := r.Scan(&s.Cursor, &s.Build, &s.Seq, &time, &s.Type, &s.Job, &s.Step, &s.Status, &data, &why); err != nil {
		return s, err
	}
	s.Time, s.Data = moment(time), json.RawMessage(data)
	return s, explain(&s.Event, why)
}

// Events reads events of all builds in the order in which they were committed,
// from behind the cursor after (0 = from the first), at most limit, and 1,000
// where that is not said. Cursors have gaps, but an event never appears behind a reader's back with a smaller one.
// Those of deleted builds are gone. Among them are those about budgets, whose Seq is
// below 0.
func (db *DB) Events(ctx context.Context, after int64, limit int) ([]Stamped, error) {
	if limit <= 0 {
		limit = maxPage
	}
	var list []Stamped
	err := db.query(ctx, func(r *sql.Rows) error {
		s, err := scanStamped(r)
		list = append(list, s)
		return err
	}, selectStamped+"WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("read events after %d: %w", after, err)
	}
	return list, nil
}
