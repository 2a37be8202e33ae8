package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Target is where notices go of what happens to builds.
type Target struct {
	Name     string     `json:"name"`
	Project  string     `json:"project,omitempty"` // whose builds; "" = those of all projects
	Kind     string     `json:"kind"`              // webhook, mail, slack, teams, discord, mattermost
	URL      string     `json:"url,omitempty"`     // of a chat no more than its host is shown
	Mail     *MailRoute `json:"mail,omitempty"`
	Events   []string   `json:"events,omitempty"`   // none = build_finished
	Projects []string   `json:"projects,omitempty"` // patterns; of a target of all projects
	Statuses []string   `json:"statuses,omitempty"`
	Branches []string   `json:"branches,omitempty"` // patterns
	Changed  bool       `json:"changed,omitempty"`  // only builds that end otherwise than the one before on their branch
	Disabled bool       `json:"disabled,omitempty"`

	HasSecret bool      `json:"hasSecret,omitempty"` // the server's to say
	Created   time.Time `json:"created"`             // the same
	Updated   time.Time `json:"updated"`             // the same
}

// MailRoute says how mail gets to its readers.
type MailRoute struct {
	Server string   `json:"server"`         // HOST:PORT
	TLS    string   `json:"tls,omitempty"`  // "" = starttls; starttls, tls, none
	User   string   `json:"user,omitempty"` // "" = does not log in
	From   string   `json:"from"`
	To     []string `json:"to"`
}

// PutTarget asks for a target. Secret is the key of a webhook or the password of
// a mail server; nil keeps what there is.
type PutTarget struct {
	Target
	Secret *string `json:"secret,omitempty"`
}

// TargetPut is a target as it is stored. Secret is there when the server made it
// up: no other call gives it.
type TargetPut struct {
	Target
	Secret string `json:"secret,omitempty"`
}

// TargetTest is what came of a test.
type TargetTest struct {
	Delivered bool          `json:"delivered"`
	Error     string        `json:"error,omitempty"`
	Took      time.Duration `json:"tookNanoseconds"`
}

// Delivery is one notice on its way to one target.
type Delivery struct {
	ID       int64     `json:"id"`
	State    string    `json:"state"` // pending, delivered, dead
	Attempts int       `json:"attempts"`
	Error    string    `json:"error,omitempty"` // of the last attempt
	Created  time.Time `json:"created"`
	Due      time.Time `json:"due,omitzero"`   // of the next attempt
	Ended    time.Time `json:"ended,omitzero"` // delivered or given up
	Notice   Notice    `json:"notice"`
}

// Notice is what a target is told: the data of a CloudEvent.
type Notice struct {
	Event     string    `json:"event"`
	Project   string    `json:"project"`
	Number    int64     `json:"number"`
	Build     string    `json:"build"`
	Seq       int64     `json:"seq"`
	Job       string    `json:"job,omitempty"`
	Step      string    `json:"step,omitempty"`
	Status    string    `json:"status"`
	Change    string    `json:"change,omitempty"` // fixed, broken
	Reason    string    `json:"reason,omitempty"`
	Ref       string    `json:"ref,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Author    string    `json:"author,omitempty"`
	Initiator string    `json:"initiator,omitempty"`
	Queued    time.Time `json:"queued,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	URL       string    `json:"url"`
	Time      time.Time `json:"time"`
	Test      bool      `json:"test,omitempty"`
}

// targetAt is the path of a project's targets, or for "" of those of all projects.
func targetAt(project string, more ...string) string {
	if project == "" {
		return at(append([]string{"targets"}, more...)...)
	}
	return at(append([]string{"projects", project, "targets"}, more...)...)
}

// Targets lists the targets of a project, or for "" those of all projects.
func (c *Client) Targets(ctx context.Context, project string) ([]Target, error) {
	page, err := get[Page[Target]](ctx, c, targetAt(project), nil)
	return page.Items, err
}

// Target shows a target.
func (c *Client) Target(ctx context.Context, project, name string) (Target, error) {
	return get[Target](ctx, c, targetAt(project, name), nil)
}

// PutTarget makes a target, or replaces one: what t leaves out is empty afterwards.
func (c *Client) PutTarget(ctx context.Context, t PutTarget) (TargetPut, error) {
	var out TargetPut
	_, err := c.call(ctx, request{method: http.MethodPut, path: targetAt(t.Project, t.Name), body: t}, &out)
	return out, err
}

// DeleteTarget removes a target with what is on its way to it.
func (c *Client) DeleteTarget(ctx context.Context, project, name string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: targetAt(project, name)}, nil)
	return err
}

// TestTarget has a test sent to a target, once.
func (c *Client) TestTarget(ctx context.Context, project, name string) (TargetTest, error) {
	var out TargetTest
	_, err := c.call(ctx, request{method: http.MethodPost, path: targetAt(project, name, "test")}, &out)
	return out, err
}

// Deliveries lists what was and will be sent to a target, the newest first: of
// one state, or for "" of all.
func (c *Client) Deliveries(ctx context.Context, project, name, state string, p Paging) (Page[Delivery], error) {
	q := p.query()
	if state != "" {
		q.Set("state", state)
	}
	return get[Page[Delivery]](ctx, c, targetAt(project, name, "deliveries"), q)
}

// Redeliver has a delivery sent again, or for 0 all that were given up, and says
// how many.
func (c *Client) Redeliver(ctx context.Context, project, name string, delivery int64) (int64, error) {
	q := url.Values{}
	if delivery != 0 {
		q.Set("delivery", strconv.FormatInt(delivery, 10))
	}
	var out struct {
		Deliveries int64 `json:"deliveries"`
	}
	_, err := c.call(ctx, request{method: http.MethodPost, path: targetAt(project, name, "redeliver"), query: q}, &out)
	return out.Deliveries, err
}
