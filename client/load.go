package client

import (
	"context"
	"time"
)

// Load is what a server has running and waiting at a moment.
type Load struct {
	Time     time.Time     `json:"time"`
	Capacity Share         `json:"capacity"` // zero = no limit
	Used     Share         `json:"used"`
	Running  []LoadJob     `json:"running"`  // the longest running first
	Waiting  []LoadJob     `json:"waiting"`  // those that wait longest first
	Projects []LoadProject `json:"projects"` // the busiest first
	Others   LoadProject   `json:"others"`   // what one may not see
}

// Share is processors and bytes of memory.
type Share struct {
	CPUs   float64 `json:"cpus"`
	Memory int64   `json:"memory"`
}

// LoadJob is a job that runs or waits.
type LoadJob struct {
	Project  string    `json:"project"`
	Number   int64     `json:"number"`
	Job      string    `json:"job,omitempty"`
	Executor string    `json:"executor,omitempty"`
	Phase    string    `json:"phase,omitempty"`
	Takes    Share     `json:"takes"`
	Since    time.Time `json:"since"`
	For      string    `json:"for,omitempty"` // what it waits for
	Detail   string    `json:"detail,omitempty"`
}

// LoadProject is what one project has running and waiting.
type LoadProject struct {
	Project string `json:"project,omitempty"`
	Running int    `json:"running"`
	Waiting int    `json:"waiting"`
	Takes   Share  `json:"takes"`
}

// Load shows what the server has running and waiting.
func (c *Client) Load(ctx context.Context) (Load, error) {
	return get[Load](ctx, c, "/load", nil)
}
