package ci

import (
	"fmt"
	"slices"
	"time"
)

// Events about a budget. They name the build whose job brought them about and are
// no transitions of it: Event.Seq is below 0, and Data is a BudgetAlert.
const (
	EventBudgetWarning EventType = "budget_warning"
	EventBudgetStopped EventType = "budget_stopped" // new builds are refused from now on
)

// Budget limits what a project, or the whole server, may use in a month of UTC.
type Budget struct {
	Project  string    `json:"project,omitempty"` // "" = the whole server
	Minutes  int64     `json:"minutes,omitempty"` // billed; 0 = no limit
	Cost     float64   `json:"cost,omitempty"`    // 0 = no limit
	Currency string    `json:"currency,omitempty"`
	Warn     []int     `json:"warn,omitempty"`     // percent; none = no warning
	WarnOnly bool      `json:"warnOnly,omitempty"` // builds are never refused
	Override string    `json:"override,omitempty"` // a month, such as 2026-11, in which builds are not refused either
	Updated  time.Time `json:"updated,omitzero"`
}

// Full is the level at which builds are refused, in percent.
const Full = 100

// Spent is what was used in a month.
type Spent struct {
	Minutes float64 `json:"minutes"` // billed
	Cost    float64 `json:"cost"`    // in the budget's currency
	Percent float64 `json:"percent"` // of the limit that is nearer
}

// Percent is how much of a budget has been used.
func (b Budget) Percent(minutes, cost float64) float64 {
	p := 0.0
	if b.Minutes > 0 {
		p = max(p, Full*minutes/float64(b.Minutes))
	}
	if b.Cost > 0 {
		p = max(p, Full*cost/b.Cost)
	}
	return p
}

// Levels lists the percentages at which something happens, the lowest first.
func (b Budget) Levels() []int {
	levels := append(slices.Clone(b.Warn), Full)
	slices.Sort(levels)
	return slices.Compact(levels)
}

// Stops says whether builds are refused in the month when so much was used.
func (b Budget) Stops(month string, percent float64) bool {
	return percent >= Full && !b.WarnOnly && b.Override != month
}

// Name is the budget in words.
func (b Budget) Name() string {
	if b.Project == "" {
		return "the budget of the server"
	}
	return fmt.Sprintf("the budget of project %q", b.Project)
}

// BudgetAlert says that so much of a budget has been used.
type BudgetAlert struct {
	Budget Budget    `json:"budget"`
	Month  string    `json:"month"`
	Level  int       `json:"level"` // percent
	Spent  Spent     `json:"spent"`
	Time   time.Time `json:"time"`
}

// BudgetStatus is a budget and how it stands this month.
type BudgetStatus struct {
	Budget
	Month    string        `json:"month"`
	Spent    Spent         `json:"spent"`
	Forecast Spent         `json:"forecast"` // for the end of the month
	Stopped  bool          `json:"stopped"`  // new builds are refused
	Reached  []BudgetAlert `json:"reached,omitempty"`
}

// MonthOf is the month of UTC that a time is in, as Budget.Override has it.
func MonthOf(t time.Time) string { return t.UTC().Format("2006-01") }

// Forecast is what will have been used when the month of now ends, if it goes on as
// it did since it began: used, by the time gone, times the length of the month. The
// first day counts whole, or one build of the first minute would foretell thousands.
func (s Spent) Forecast(now time.Time) Spent {
	now = now.UTC()
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	gone := max(now.Sub(first), 24*time.Hour)
	times := float64(first.AddDate(0, 1, 0).Sub(first)) / float64(gone)
	return Spent{Minutes: s.Minutes * times, Cost: Amount(Millionths(s.Cost * times)), Percent: s.Percent * times}
}

// OverBudget is the ErrDenied of one who wants a build when a budget is used up.
type OverBudget struct {
	Budget Budget
	Month  string
	Spent  Spent
}

func (o *OverBudget) Error() string {
	limit := fmt.Sprintf("%.0f of %d minutes", o.Spent.Minutes, o.Budget.Minutes)
	if o.Budget.Cost > 0 && o.Spent.Cost >= o.Budget.Cost {
		limit = fmt.Sprintf("%.2f of %.2f %s", o.Spent.Cost, o.Budget.Cost, o.Budget.Currency)
	}
	return fmt.Sprintf("%s for %s is used up (%s): no new builds until the month ends in UTC", o.Budget.Name(), o.Month, limit)
}

// Unwrap says of which kind it is.
func (o *OverBudget) Unwrap() error { return ErrDenied }
