package client

import (
	"context"
	"net/http"
	"time"
)

// OverBudget is the Code of an Error when a build is refused because a budget is
// used up.
const OverBudget = "over_budget"

// Budget limits what a project, or the whole server, may use in a month of UTC.
type Budget struct {
	Project  string    `json:"project,omitempty"` // "" = the whole server
	Minutes  int64     `json:"minutes,omitempty"` // 0 = no limit
	Cost     float64   `json:"cost,omitempty"`    // 0 = no limit
	Currency string    `json:"currency,omitempty"`
	Warn     []int     `json:"warn,omitempty"` // percent
	WarnOnly bool      `json:"warnOnly,omitempty"`
	Override string    `json:"override,omitempty"` // a month in which builds are not refused, such as 2026-11
	Updated  time.Time `json:"updated,omitzero"`
}

// Spent is what was used in a month.
type Spent struct {
	Minutes float64 `json:"minutes"`
	Cost    float64 `json:"cost"`
	Percent float64 `json:"percent"` // of the limit that is nearer
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

// budgetAt is the address of the budget of a project, "" = the server.
func budgetAt(project string) string {
	if project == "" {
		return "/budget"
	}
	return at("projects", project, "budget")
}

// Budgets lists the budgets that one may see.
func (c *Client) Budgets(ctx context.Context) ([]BudgetStatus, error) {
	page, err := get[Page[BudgetStatus]](ctx, c, "/budgets", nil)
	return page.Items, err
}

// Budget shows the budget of a project, "" = the server.
func (c *Client) Budget(ctx context.Context, project string) (BudgetStatus, error) {
	return get[BudgetStatus](ctx, c, budgetAt(project), nil)
}

// SetBudget sets the budget of b.Project, "" = the server; for administrators.
func (c *Client) SetBudget(ctx context.Context, b Budget) (BudgetStatus, error) {
	var put BudgetStatus
	_, err := c.call(ctx, request{method: http.MethodPut, path: budgetAt(b.Project), body: b}, &put)
	return put, err
}

// DeleteBudget ends the budget of a project, "" = the server; for administrators.
func (c *Client) DeleteBudget(ctx context.Context, project string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: budgetAt(project)}, nil)
	return err
}
