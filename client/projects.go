package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Project is what builds are started from.
type Project struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Source      Source            `json:"source"`
	File        string            `json:"file,omitempty"`
	Inline      string            `json:"inline,omitempty"`
	Batch       bool              `json:"batch,omitempty"`
	Runtime     Runtime           `json:"runtime,omitzero"`
	Variables   []Variable        `json:"variables,omitempty"`
	Parameters  []Parameter       `json:"parameters,omitempty"` // what its builds can be given when they are started
	Limits      Limits            `json:"limits,omitzero"`
	Artifacts   string            `json:"artifacts,omitempty"` // "" = zip, or folder
	After       []string          `json:"after,omitempty"`     // projects: when a build of one succeeds, this one is built
	Badge       bool              `json:"badge,omitempty"`     // the state of its last build may be shown to everybody
	Tags        map[string]string `json:"tags,omitempty"`
	Retention   Retention         `json:"retention,omitzero"`
	Private     bool              `json:"private,omitempty"`
	Secrets     []string          `json:"secretSources,omitempty"` // further sources of secrets that its builds may use: server, aws, vault; for administrators to say
	BuildRole   string            `json:"buildRole,omitempty"`     // of its builds, in the project, by a token of their own: viewer or builder; "" = they have none
	Created     time.Time         `json:"created"`                 // the server's to say
	Updated     time.Time         `json:"updated"`                 // the same
	Revision    int64             `json:"revision"`                // the same
}

// Parameter is something that a build of a project can be given when it is started.
type Parameter struct {
	Name        string   `json:"name"`
	Type        string   `json:"type,omitempty"` // string, text, boolean, choice, password; "" = string
	Description string   `json:"description,omitempty"`
	Default     string   `json:"default,omitempty"`
	Choices     []string `json:"choices,omitempty"`
	Required    bool     `json:"required,omitempty"`
}

// Paging asks for a page of a list.
type Paging struct {
	Limit int    // 1 to 200; 0 = 50
	After string // Next of the page before
}

func (p Paging) query() url.Values {
	q := url.Values{}
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.After != "" {
		q.Set("after", p.After)
	}
	return q
}

// Page is a page of a list. Next is "" at the list's end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// Projects lists the projects whose names begin with prefix.
func (c *Client) Projects(ctx context.Context, prefix string, p Paging) (Page[Project], error) {
	q := p.query()
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	return get[Page[Project]](ctx, c, "/projects", q)
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	var out T
	_, err := c.call(ctx, request{method: http.MethodGet, path: path, query: q}, &out)
	return out, err
}

// Project shows a project.
func (c *Client) Project(ctx context.Context, name string) (Project, error) {
	return get[Project](ctx, c, at("projects", name), nil)
}

// CreateProject makes a project; one of that name is a conflict.
func (c *Client) CreateProject(ctx context.Context, p Project) (Project, error) {
	var out Project
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/projects", body: p}, &out)
	return out, err
}

// UpdateProject replaces a project. With a Revision other than 0 it must still be
// of that revision: else the error's Code is "changed".
func (c *Client) UpdateProject(ctx context.Context, p Project) (Project, error) {
	var out Project
	_, err := c.call(ctx, request{method: http.MethodPut, path: at("projects", p.Name), header: ifMatch(p.Revision), body: p}, &out)
	return out, err
}

func ifMatch(revision int64) http.Header {
	if revision == 0 {
		return nil
	}
	return http.Header{"If-Match": {strconv.Quote(strconv.FormatInt(revision, 10))}}
}

// DeleteProject removes a project with all its builds; with force also when some
// are not done: they are stopped. revision is as in UpdateProject.
func (c *Client) DeleteProject(ctx context.Context, name string, revision int64, force bool) error {
	q := url.Values{}
	if force {
		q.Set("force", "true")
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: at("projects", name), query: q, header: ifMatch(revision)}, nil)
	return err
}
