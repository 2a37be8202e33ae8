package client

import (
	"context"
	"net/http"
)

// Retention says how long builds of a project are kept, and, apart, their
// artifacts and logs. What is beyond one of two limits goes. 0 = as the server
// has it; -1 = for ever.
type Retention struct {
	Builds         int `json:"builds,omitempty"` // the newest so many
	Days           int `json:"days,omitempty"`
	ArtifactBuilds int `json:"artifactBuilds,omitempty"` // artifacts of the newest so many builds
	ArtifactDays   int `json:"artifactDays,omitempty"`
	LogBuilds      int `json:"logBuilds,omitempty"`
	LogDays        int `json:"logDays,omitempty"`
}

// Retained says how long builds of a project are kept, and what of them goes.
type Retained struct {
	Project string         `json:"project"`
	Own     Retention      `json:"own"`    // what the project says
	Limits  Retention      `json:"limits"` // with what the server has where it says nothing
	Goes    []RetainedPart `json:"goes"`
}

// RetainedPart is what goes of one kind.
type RetainedPart struct {
	Part    string  `json:"part"`    // build, artifacts or logs
	Builds  int     `json:"builds"`  // of how many builds
	Numbers []int64 `json:"numbers"` // of those, the oldest; at most 1,000
}

// Retention shows how long builds of a project are kept, and what would go now.
func (c *Client) Retention(ctx context.Context, project string) (Retained, error) {
	return get[Retained](ctx, c, at("projects", project, "retention"), nil)
}

// ApplyRetention removes now what is no longer kept of a project, and says what
// that was.
func (c *Client) ApplyRetention(ctx context.Context, project string) (Retained, error) {
	var r Retained
	_, err := c.call(ctx, request{method: http.MethodPost, path: at("projects", project, "retention")}, &r)
	return r, err
}
