package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// PutBudget stores a budget of a project ("" = the server) over the one it had.
// Levels that are no longer reached will be told again.
func (db *DB) PutBudget(ctx context.Context, b ci.Budget) (ci.Budget, error) {
	err := db.write(ctx, func(t *tx) error {
		b.Updated = moment(nanos(db.opt.Now()))
		record, err := json.Marshal(b)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		if _, err := t.exec("INSERT INTO budgets (project, record) VALUES ($1, $2) ON CONFLICT (project) DO UPDATE SET record = excluded.record", plain(b.Project), string(record)); err != nil {
			return err
		}
		month := ci.MonthOf(b.Updated)
		spent, err := t.spent(b, month)
		if err == nil {
			_, err = t.exec("DELETE FROM budget_levels WHERE project = $1 AND month = $2 AND level > $3", plain(b.Project), month, int64(spent.Percent))
		}
		return err
	})
	if err != nil {
		return ci.Budget{}, fmt.Errorf("store %s: %w", b.Name(), err)
	}
	return b, nil
}

// DeleteBudget ends a budget. One that is not there has ended.
func (db *DB) DeleteBudget(ctx context.Context, project string) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM budget_levels WHERE project = $1", plain(project))
		if err == nil {
			_, err = t.exec("DELETE FROM budgets WHERE project = $1", plain(project))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", ci.Budget{Project: project}.Name(), err)
	}
	return nil
}

// Budgets lists the budgets and how they stand this month, that of the server
// first, then by project.
func (db *DB) Budgets(ctx context.Context) ([]ci.BudgetStatus, error) {
	list, err := records[ci.Budget](ctx, db, nil, "SELECT record FROM budgets ORDER BY project")
	if err != nil {
		return nil, fmt.Errorf("list budgets: %w", err)
	}
	return db.stand(ctx, list)
}

// Budget is the one of a project, "" = the server. Without one nothing is
// limited, and the answer says what was used.
func (db *DB) Budget(ctx context.Context, project string) (ci.BudgetStatus, error) {
	list, err := records[ci.Budget](ctx, db, nil, "SELECT record FROM budgets WHERE project = $1", plain(project))
	if err != nil {
		return ci.BudgetStatus{}, fmt.Errorf("read %s: %w", ci.Budget{Project: project}.Name(), err)
	}
	if len(list) == 0 {
		list = []ci.Budget{{Project: project}}
	}
	out, err := db.stand(ctx, list)
	if err != nil {
		return ci.BudgetStatus{}, err
	}
	return out[0], nil
}

// stand says how budgets stand this month.
func (db *DB) stand(ctx context.Context, list []ci.Budget) (_ []ci.BudgetStatus, err error) {
	now := db.opt.Now()
	month := ci.MonthOf(now)
	out := make([]ci.BudgetStatus, len(list))
	for i, b := range list {
		s := ci.BudgetStatus{Budget: b, Month: month}
		if s.Spent, err = db.spent(ctx, b, month); err != nil {
			return nil, err
		}
		if s.Reached, err = records[ci.BudgetAlert](ctx, db, nil, "SELECT alert FROM budget_levels WHERE project = $1 AND month = $2 ORDER BY level", plain(b.Project), month); err != nil {
			return nil, fmt.Errorf("read %s: %w", b.Name(), err)
		}
		s.Forecast, s.Stopped = s.Spent.Forecast(now), b.Stops(month, s.Spent.Percent)
		out[i] = s
	}
	return out, nil
}

// spentQuery adds up a month: all minutes, and the cost in the budget's currency.
func spentQuery(b ci.Budget, month string) (text string, args []any) {
	text = "SELECT COALESCE(SUM(billed), 0), COALESCE(SUM(CASE WHEN currency = $1 THEN cost ELSE 0 END), 0) FROM spending WHERE month = $2"
	args = []any{plain(b.Currency), month}
	if b.Project != "" {
		text, args = text+" AND project = $3", append(args, plain(b.Project))
	}
	return text, args
}

func spentOf(b ci.Budget, billed, cost int64) ci.Spent {
	s := ci.Spent{Minutes: float64(billed) / 60, Cost: ci.Amount(cost)}
	s.Percent = b.Percent(s.Minutes, s.Cost)
	return s
}

func (db *DB) spent(ctx context.Context, b ci.Budget, month string) (ci.Spent, error) {
	var billed, cost int64
	text, args := spentQuery(b, month)
	err := db.query(ctx, func(r *sql.Rows) error { return r.Scan(&billed, &cost) }, text, args...)
	if err != nil {
		err = fmt.Errorf("add up %s: %w", b.Name(), err)
	}
	return spentOf(b, billed, cost), err
}

func (t *tx) spent(b ci.Budget, month string) (ci.Spent, error) {
	var billed, cost int64
	text, args := spentQuery(b, month)
	_, err := t.row([]any{&billed, &cost}, text, args...)
	return spentOf(b, billed, cost), err
}

// budgetsFor are those that hold for a project: its own, and the server's.
func (t *tx) budgetsFor(project string) (list []ci.Budget, err error) {
	err = t.rows(func(r *sql.Rows) error {
		var record []byte
		if err := r.Scan(&record); err != nil {
			return err
		}
		list = append(list, ci.Budget{})
		return json.Unmarshal(record, &list[len(list)-1])
	}, "SELECT record FROM budgets WHERE project = $1 OR project = '' ORDER BY project DESC", plain(project))
	return list, err
}

// afford refuses a new build when a budget is used up. It is asked in the
// transaction that would store the build, whoever starts it.
func (t *tx) afford(project string) error {
	list, err := t.budgetsFor(project)
	if err != nil || len(list) == 0 {
		return err
	}
	month := ci.MonthOf(t.w.db.opt.Now())
	for _, b := range list {
		spent, err := t.spent(b, month)
		if err != nil {
			return err
		}
		if b.Stops(month, spent.Percent) {
			return &ci.OverBudget{Budget: b, Month: month, Spent: spent}
		}
	}
	return nil
}

// alert tells the levels that a budget has reached with a job of the build, each
// once in its month: as an event, for whoever reads those of all builds.
func (t *tx) alert(build ci.BuildID, project, month string) error {
	list, err := t.budgetsFor(project)
	if err != nil {
		return err
	}
	for _, b := range list {
		spent, err := t.spent(b, month)
		if err != nil {
			return err
		}
		for _, level := range b.Levels() {
			if spent.Percent < float64(level) {
				break
			}
			if err := t.reach(build, ci.BudgetAlert{Budget: b, Month: month, Level: level, Spent: spent, Time: moment(nanos(t.w.db.opt.Now()))}); err != nil {
				return err
			}
		}
	}
	return nil
}

// reach tells one level, unless that was done.
func (t *tx) reach(build ci.BuildID, a ci.BudgetAlert) error {
	told, err := t.row([]any{new(int64)}, "SELECT level FROM budget_levels WHERE project = $1 AND month = $2 AND level = $3", plain(a.Budget.Project), a.Month, int64(a.Level))
	if err != nil || told {
		return err
	}
	data, err := json.Marshal(a)
	if err != nil {
		return errors.Join(errors.New("encode an alert"), err)
	}
	if _, err := t.exec("INSERT INTO budget_levels (project, month, level, alert) VALUES ($1, $2, $3, $4)", plain(a.Budget.Project), a.Month, int64(a.Level), string(data)); err != nil {
		return err
	}
	e := ci.Event{Type: ci.EventBudgetWarning, Build: build, Time: a.Time, Data: data}
	if a.Budget.Stops(a.Month, float64(a.Level)) {
		e.Type = ci.EventBudgetStopped
	}
	if _, err := t.row([]any{&e.Seq}, "SELECT COALESCE(MIN(seq), 0) FROM events WHERE build = $1 AND seq < 0", string(build)); err != nil {
		return err
	}
	e.Seq--
	return t.insertEvents([]ci.Event{e})
}
