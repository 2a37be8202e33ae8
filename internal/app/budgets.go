package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Budgets lists the budgets that the user may see, and how they stand this month.
func (a *App) Budgets(ctx context.Context) ([]ci.BudgetStatus, error) {
	u, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	all, err := a.cfg.Store.Budgets(ctx)
	if err != nil {
		return nil, err
	}
	seen := []ci.BudgetStatus{}
	for _, b := range all {
		ok := seesAll(u)
		if b.Project == "" {
			ok = can(u.Role, viewBudget) && u.Only == nil
		} else if !ok {
			_, _, err := a.enter(ctx, viewBudget, b.Project)
			if err != nil && !errors.Is(err, ci.ErrNotFound) && !errors.Is(err, ci.ErrDenied) {
				return nil, err
			}
			ok = err == nil
		}
		if ok {
			seen = append(seen, b)
		}
	}
	return seen, nil
}

// over lets those pass who may do so with the budget of a project, "" = the server.
func (a *App) over(ctx context.Context, v verb, project string) (ci.User, error) {
	if project == "" {
		return manage(ctx, v)
	}
	_, u, err := a.enter(ctx, v, project)
	return u, err
}

// Budget shows the budget of a project, "" = the server. Without one nothing is limited.
func (a *App) Budget(ctx context.Context, project string) (ci.BudgetStatus, error) {
	if _, err := a.over(ctx, viewBudget, project); err != nil {
		return ci.BudgetStatus{}, err
	}
	return a.cfg.Store.Budget(ctx, project)
}

// SetBudget sets the budget of a project, "" = the server, in place of the one it
// had. Without a currency it counts in that of the server's prices.
func (a *App) SetBudget(ctx context.Context, b ci.Budget) (ci.BudgetStatus, error) {
	u, err := a.over(ctx, setBudget, b.Project)
	if err != nil {
		return ci.BudgetStatus{}, err
	}
	if b.Currency == "" {
		b.Currency = a.cfg.Currency
	}
	if err := checkBudget(b); err != nil {
		return ci.BudgetStatus{}, err
	}
	if _, err := a.cfg.Store.PutBudget(ctx, b); err != nil {
		return ci.BudgetStatus{}, err
	}
	if err := a.changed(ctx, u, setBudget, b.Project, "", budgetWords(b)); err != nil {
		return ci.BudgetStatus{}, err
	}
	return a.cfg.Store.Budget(ctx, b.Project)
}

// DeleteBudget ends the budget of a project, "" = the server.
func (a *App) DeleteBudget(ctx context.Context, project string) error {
	u, err := a.over(ctx, deleteBudget, project)
	if err != nil {
		return err
	}
	if err := a.cfg.Store.DeleteBudget(ctx, project); err != nil {
		return err
	}
	return a.changed(ctx, u, deleteBudget, project, "", "")
}

func budgetWords(b ci.Budget) string {
	text := fmt.Sprintf("%d minutes, %.2f %s, warn at %v", b.Minutes, b.Cost, b.Currency, b.Warn)
	if b.WarnOnly {
		text += ", warn only"
	}
	if b.Override != "" {
		text += ", lifted in " + b.Override
	}
	return text
}

// Limits of a budget: what is more is a slip of the pen.
const (
	maxBudgetMinutes = 1e9
	maxBudgetCost    = 1e9
	maxWarnings      = 10
	maxLevel         = 1000
)

func checkBudget(b ci.Budget) error {
	in := &Invalid{}
	if b.Minutes == 0 && b.Cost == 0 {
		in.add("minutes", "is missing, and so is cost: want one of them, or both")
	}
	if b.Minutes < 0 || b.Minutes > maxBudgetMinutes {
		in.add("minutes", "%d: want 1 to %.0f, or 0 for no limit", b.Minutes, float64(maxBudgetMinutes))
	}
	if math.IsNaN(b.Cost) || b.Cost < 0 || b.Cost > maxBudgetCost {
		in.add("cost", "%v: want more than 0 and %.0f at most, or 0 for no limit", b.Cost, float64(maxBudgetCost))
	}
	letters := len(b.Currency) == 3
	for _, c := range b.Currency {
		letters = letters && 'A' <= c && c <= 'Z'
	}
	switch {
	case b.Cost > 0 && b.Currency == "":
		in.add("cost", "nothing has a price: start the server with --prices, or give the currency")
	case b.Currency != "" && !letters:
		in.add("currency", "%.20q: want a code of three capital letters, such as USD", b.Currency)
	}
	if len(b.Warn) > maxWarnings {
		in.add("warn", "has %d levels: want at most %d", len(b.Warn), maxWarnings)
	}
	for i, level := range b.Warn {
		if level < 1 || level > maxLevel {
			in.add(fmt.Sprintf("warn[%d]", i), "%d: want a percentage from 1 to %d", level, maxLevel)
		}
	}
	if b.Override != "" {
		if _, err := time.Parse("2006-01", b.Override); err != nil {
			in.add("override", "%.20q: want a month, such as 2026-11", b.Override)
		}
	}
	return in.err()
}
