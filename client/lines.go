package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// LineQuery chooses lines of what the commands of a build printed. Zero values
// choose all.
type LineQuery struct {
	Job        string    // of this job only: "build", or "build#2" for its second attempt
	Step       string    // of this step only, by its path
	From, To   int64     // lines of that step, counted from 1
	Last       int64     // the last so many
	Since      time.Time // that came then or later
	Until      time.Time // that came before
	Grep       string    // that have this text in them
	Regexp     bool      // Grep is a regular expression (RE2)
	IgnoreCase bool
	Invert     bool   // those that do not match
	Context    int    // and so many lines before and behind each that matches
	Count      bool   // say how many match, and give none
	Limit      int    // lines in a page; 0 = 1,000
	After      string // goes on behind a page
}

// LogLine is a line of output.
type LogLine struct {
	Step    string    `json:"step"`
	Line    int64     `json:"line"` // in the step, from 1
	Time    time.Time `json:"time"` // at which it came, to a tenth of a second
	Text    string    `json:"text"`
	Context bool      `json:"context,omitempty"` // it does not match, but is near one that does
	Cut     bool      `json:"cut,omitempty"`     // a piece of a longer line
}

// LinePage is a part of an answer. It may be empty and still have a Next.
type LinePage struct {
	Items   []LogLine `json:"items"`
	Next    string    `json:"next,omitempty"` // After of the page that follows
	Matches int64     `json:"matches"`        // with Count, what the pages add up to
	Scanned int64     `json:"scanned"`        // bytes that were looked through for it
}

func (q LineQuery) query() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{"job": q.Job, "step": q.Step, "grep": q.Grep, "after": q.After} {
		if value != "" {
			out.Set(name, value)
		}
	}
	for name, n := range map[string]int64{"from": q.From, "to": q.To, "last": q.Last, "context": int64(q.Context), "limit": int64(q.Limit)} {
		if n != 0 {
			out.Set(name, strconv.FormatInt(n, 10))
		}
	}
	for name, yes := range map[string]bool{"regexp": q.Regexp, "ignoreCase": q.IgnoreCase, "invert": q.Invert, "count": q.Count} {
		if yes {
			out.Set(name, "true")
		}
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			out.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	return out
}

// Lines gives a page of lines of what there is of a build's output.
func (c *Client) Lines(ctx context.Context, project string, number int64, q LineQuery) (LinePage, error) {
	return get[LinePage](ctx, c, buildAt(project, number)+"/lines", q.query())
}

// FollowLines calls f with each line until the build is done. An error of f ends
// it, and is the answer. A connection that breaks is taken up again where it
// broke. To, Until, Count and Limit have no place here.
func (c *Client) FollowLines(ctx context.Context, project string, number int64, q LineQuery, f func(LogLine) error) error {
	return c.sse(ctx, buildAt(project, number)+"/lines/events", q.query(), "", func(_ string, data []byte) error {
		var l LogLine
		if err := json.Unmarshal(data, &l); err != nil {
			return fmt.Errorf("read a line: %w", err)
		}
		return f(l)
	})
}
