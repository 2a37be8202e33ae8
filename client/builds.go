package client

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// StartBuild is what a build is to have otherwise than its project.
type StartBuild struct {
	Key       string     `json:"-"`                // the same key gives the build that it first started
	Source    *Source    `json:"source,omitempty"` // instead of the project's
	Ref       string     `json:"ref,omitempty"`
	File      string     `json:"file,omitempty"`
	Inline    string     `json:"inline,omitempty"`
	Batch     *bool      `json:"batch,omitempty"`
	Variables []Variable `json:"variables,omitempty"`
	Runtime   Runtime    `json:"runtime,omitzero"`
	Limits    Limits     `json:"limits,omitzero"`

	Parameters map[string]string `json:"parameters,omitempty"` // those that the project declares
	Artifacts  string            `json:"artifacts,omitempty"`  // zip, folder
}

// StartBuild starts a build. made is false when its Key was used before.
func (c *Client) StartBuild(ctx context.Context, project string, s StartBuild) (b Build, made bool, err error) {
	return c.start(ctx, at("projects", project, "builds"), s.Key, s)
}

// RetryOptions say what of a build is done again. The zero value: all of it.
type RetryOptions struct {
	Key    string `json:"-"`                // as in StartBuild
	Failed bool   `json:"failed,omitempty"` // the jobs that did not succeed
	From   string `json:"from,omitempty"`   // this job and those that need it, and what did not succeed
}

// RetryBuild builds the commit of a build again, with its parameters, in a new
// build. Jobs that are not to be done again are taken over, with what they left.
func (c *Client) RetryBuild(ctx context.Context, project string, number int64, r RetryOptions) (b Build, made bool, err error) {
	return c.start(ctx, buildAt(project, number)+"/retry", r.Key, r)
}

func (c *Client) start(ctx context.Context, path, key string, body any) (b Build, made bool, err error) {
	r := request{method: http.MethodPost, path: path, body: body}
	if key != "" {
		r.header = http.Header{"Idempotency-Key": {key}}
	}
	resp, err := c.call(ctx, r, &b)
	return b, err == nil && resp.StatusCode == http.StatusCreated, err
}

// BuildFilter chooses builds; zero values choose all.
type BuildFilter struct {
	Project   string
	Status    []string // any of them
	Ref       string   // refs/heads/main, or main
	Commit    string   // a hash, or its beginning
	Initiator string
	Since     time.Time
	Until     time.Time
	Paging
}

// Builds lists builds, the newest first, without their jobs. A page may be
// shorter than its limit before the end: go by Next.
func (c *Client) Builds(ctx context.Context, f BuildFilter) (Page[Build], error) {
	q := f.query()
	for name, value := range map[string]string{"ref": f.Ref, "commit": f.Commit, "initiator": f.Initiator, "status": strings.Join(f.Status, ",")} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	path := "/builds"
	if f.Project != "" {
		path = at("projects", f.Project, "builds")
	}
	return get[Page[Build]](ctx, c, path, q)
}

// Build shows a build with its jobs, steps and plan.
func (c *Client) Build(ctx context.Context, project string, number int64) (Build, error) {
	return get[Build](ctx, c, buildAt(project, number), nil)
}

// StopBuild asks a build to stop and gives it as it then stands. One that is done
// stays as it is.
func (c *Client) StopBuild(ctx context.Context, project string, number int64) (Build, error) {
	var b Build
	_, err := c.call(ctx, request{method: http.MethodPost, path: buildAt(project, number) + "/stop"}, &b)
	return b, err
}

// DeleteBuild removes a build that is done, with its log and artifacts.
func (c *Client) DeleteBuild(ctx context.Context, project string, number int64) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: buildAt(project, number)}, nil)
	return err
}

// JobSteps is a job with its steps as a tree.
type JobSteps struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Status string     `json:"status"`
	Steps  []StepNode `json:"steps"`
}

// StepNode is a step, with those that it holds.
type StepNode struct {
	Step
	Path  string     `json:"path"` // its name for StepLog
	Log   *LogInfo   `json:"log,omitempty"`
	Steps []StepNode `json:"steps,omitempty"`
}

// LogInfo is the state of a step's log.
type LogInfo struct {
	Size   int64 `json:"size"`
	Lines  int64 `json:"lines"`
	Sealed bool  `json:"sealed"` // no more will come
}

// Steps lists the steps of a build.
func (c *Client) Steps(ctx context.Context, project string, number int64) ([]JobSteps, error) {
	page, err := get[Page[JobSteps]](ctx, c, buildAt(project, number)+"/steps", nil)
	return page.Items, err
}

// JobArtifact is an artifact of a job.
type JobArtifact struct {
	Job string `json:"job"`
	Artifact
	Open    string  `json:"open"`              // its name for OpenArtifact
	Entries []Entry `json:"entries,omitempty"` // of a folder: "/" and their paths are to be put behind Open
	// Expired is when it was removed, since the project keeps it no longer.
	Expired time.Time `json:"expired,omitzero"`
}

// Entry is a file of an artifact that is a folder.
type Entry struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// Artifacts lists the artifacts of a build.
func (c *Client) Artifacts(ctx context.Context, project string, number int64) ([]JobArtifact, error) {
	page, err := get[Page[JobArtifact]](ctx, c, buildAt(project, number)+"/artifacts", nil)
	return page.Items, err
}

// File is an artifact that is being downloaded.
type File struct {
	io.ReadCloser
	Name string // the server's word: no path, but do not trust it with more
	Size int64  // -1 = not known
}

// OpenArtifact downloads an artifact.
func (c *Client) OpenArtifact(ctx context.Context, project string, number int64, open string) (*File, error) {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: buildAt(project, number) + "/artifacts" + below(open)})
	if err != nil {
		return nil, err
	}
	_, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Disposition")) // without it, there is no name
	return &File{resp.Body, params["filename"], resp.ContentLength}, nil
}

// Archive downloads all artifacts of a build as one file, of the format zip or
// tar. A reader that ends with an error has not given all of it.
func (c *Client) Archive(ctx context.Context, project string, number int64, format string) (*File, error) {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: buildAt(project, number) + "/archive", query: url.Values{"format": {format}}})
	if err != nil {
		return nil, err
	}
	_, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Disposition")) // without it, there is no name
	return &File{resp.Body, params["filename"], resp.ContentLength}, nil
}

// JobReport is a report of a job.
type JobReport struct {
	Job string `json:"job"`
	Report
}

// Reports lists the reports of a build, with their cases.
func (c *Client) Reports(ctx context.Context, project string, number int64) ([]JobReport, error) {
	page, err := get[Page[JobReport]](ctx, c, buildAt(project, number)+"/reports", url.Values{})
	return page.Items, err
}
