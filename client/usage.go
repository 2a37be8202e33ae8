package client

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Charge is what a job was metered with when it ended.
type Charge struct {
	Executor string  `json:"executor,omitempty"`
	Type     string  `json:"type,omitempty"`
	Size     string  `json:"size,omitempty"`
	Seconds  int64   `json:"seconds"`       // that its sandbox was held
	Billed   int64   `json:"billedSeconds"` // rounded up to what is billed
	Cost     float64 `json:"cost,omitempty"`
	Currency string  `json:"currency,omitempty"`
}

// UsageRow is metered jobs, added up; what they were not grouped by is "".
type UsageRow struct {
	Day      string  `json:"day,omitempty"`
	Month    string  `json:"month,omitempty"`
	Project  string  `json:"project,omitempty"`
	Branch   string  `json:"branch,omitempty"`
	User     string  `json:"user,omitempty"`
	Executor string  `json:"executor,omitempty"`
	Type     string  `json:"type,omitempty"`
	Size     string  `json:"size,omitempty"`
	Builds   int64   `json:"builds"`
	Jobs     int64   `json:"jobs"`
	Seconds  int64   `json:"seconds"`
	Minutes  float64 `json:"minutes"` // billed
	Cost     float64 `json:"cost"`
	Currency string  `json:"currency,omitempty"`
}

// UsageFilter chooses metered jobs and groups them; zero values choose all.
type UsageFilter struct {
	By      []string // day, month, project, branch, user, executor, type, size; none = sums
	Project string
	Branch  string
	User    string
	Since   time.Time // the day of it, in UTC
	Until   time.Time // the days before it
	Paging
}

// Usage adds up what jobs of the projects that one may see were metered with.
func (c *Client) Usage(ctx context.Context, f UsageFilter) (Page[UsageRow], error) {
	q := f.query()
	for name, value := range map[string]string{"by": strings.Join(f.By, ","), "project": f.Project, "branch": f.Branch, "user": f.User} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.DateOnly))
		}
	}
	return get[Page[UsageRow]](ctx, c, "/usage", q)
}

// RebuildUsage meters the jobs of stored builds that are not metered; for
// administrators. It answers how many were missing.
func (c *Client) RebuildUsage(ctx context.Context) (added int, err error) {
	var out struct {
		Added int `json:"added"`
	}
	_, err = c.call(ctx, request{method: http.MethodPost, path: "/usage/rebuild"}, &out)
	return out.Added, err
}
