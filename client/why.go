package client

import (
	"context"
	"time"
)

// Decision is why an event came about, as it was at that moment.
type Decision struct {
	By         string      `json:"by,omitempty"` // who wanted it
	Conditions []Condition `json:"conditions,omitempty"`
	Waits      []Wait      `json:"waits,omitempty"` // of what had to wait before
}

// Condition is one thing that was looked at.
type Condition struct {
	What string `json:"what"`
	Got  string `json:"got,omitempty"`
	Met  bool   `json:"met"`
}

// Wait is a time of waiting for one thing.
type Wait struct {
	For     string    `json:"for"` // memory, processors, runner, turn, order, bigger job
	Detail  string    `json:"detail,omitempty"`
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
}

// Because is one decision about a build, in words and with its grounds.
type Because struct {
	Time  time.Time `json:"time"`
	Seq   int64     `json:"seq,omitempty"`  // of the event that it was; 0 = it lasts
	What  string    `json:"what"`           // asked, started, refused, waiting, skipped, canceled, retry, cache, ended
	Job   string    `json:"job,omitempty"`  // its name
	Step  string    `json:"step,omitempty"` // its ID
	Text  string    `json:"text"`           // in words
	Cache *CacheUse `json:"cache,omitempty"`
	Decision
}

// Why lists the decisions about a build, in order.
func (c *Client) Why(ctx context.Context, project string, number int64) ([]Because, error) {
	page, err := get[Page[Because]](ctx, c, buildAt(project, number)+"/why", nil)
	return page.Items, err
}
