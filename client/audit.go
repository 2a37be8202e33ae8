package client

import (
	"context"
	"time"
)

// AuditEntry says who did what, when and from where.
type AuditEntry struct {
	ID      int64     `json:"id"`
	Time    time.Time `json:"time"`
	User    string    `json:"user,omitempty"` // "" = nobody who is known, such as one who failed to log in
	Verb    string    `json:"verb"`           // "project.create"
	Project string    `json:"project,omitempty"`
	Build   string    `json:"build,omitempty"` // its ID
	Detail  string    `json:"detail,omitempty"`
	Address string    `json:"address,omitempty"` // the client's
	Token   string    `json:"token,omitempty"`   // the ID of the token that was used
	Request string    `json:"request,omitempty"` // the ID of the request
}

// AuditFilter chooses entries; zero values choose all.
type AuditFilter struct {
	User    string
	Project string
	Verb    string // project.delete, or project for all that is done to projects
	Since   time.Time
	Until   time.Time
	Paging
}

// Audit lists what was done, the newest first. It is for administrators: with a
// Project also for those of the project.
func (c *Client) Audit(ctx context.Context, f AuditFilter) (Page[AuditEntry], error) {
	q := f.query()
	for name, value := range map[string]string{"user": f.User, "project": f.Project, "verb": f.Verb} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	return get[Page[AuditEntry]](ctx, c, "/audit", q)
}
