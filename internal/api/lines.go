package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
)

// InLines chooses lines of a build's output.
type InLines struct {
	InBuild
	Job        string    `query:"job" maxLength:"200" doc:"of this job: build, or build#2 for its second attempt"`
	Step       string    `query:"step" maxLength:"1000" doc:"of this step: build/BUILD/0"`
	From       int64     `query:"from" minimum:"0" doc:"line of the step from which on, counted from 1"`
	Last       int64     `query:"last" minimum:"0" doc:"the last so many lines"`
	Since      time.Time `query:"since" doc:"that came then or later"`
	Grep       string    `query:"grep" maxLength:"1000" doc:"with this text; colours in a line are passed over"`
	Regexp     bool      `query:"regexp" doc:"grep is a regular expression (RE2)"`
	IgnoreCase bool      `query:"ignoreCase"`
	Invert     bool      `query:"invert" doc:"those that do not match"`
	Context    int       `query:"context" minimum:"0" maximum:"50" doc:"with so many lines before and behind each that matches"`
}

func (in *InLines) query() app.LineQuery {
	return app.LineQuery{
		Job: in.Job, Step: in.Step, From: in.From, Last: in.Last, Since: in.Since,
		Grep: in.Grep, Regexp: in.Regexp, IgnoreCase: in.IgnoreCase, Invert: in.Invert, Context: in.Context,
	}
}

type linesAnswer struct{ Body app.LinePage }

func (a *API) lines() {
	desk := a.cfg.App
	const lines = "/projects/{project}/builds/{number}/lines"
	register(a, huma.Operation{OperationID: "listLines", Method: http.MethodGet, Path: lines, Summary: "List lines of a build's output, or search it",
		Description: "What there is of the output of the build's commands. A page ends when it is full, and also when the search for it took " +
			"two seconds: it may then be empty and still have a `next`. The last line of a step that still runs comes once it has its end."},
		func(ctx context.Context, in *struct {
			InLines
			To    int64     `query:"to" minimum:"0" doc:"last line of the step"`
			Until time.Time `query:"until" doc:"that came before"`
			Count bool      `query:"count" doc:"only count those that match, in matches; the pages add up"`
			Limit int       `query:"limit" minimum:"0" maximum:"10000" doc:"lines in a page; 1000 unless said"`
			After string    `query:"after" maxLength:"2000" doc:"the next of the page before"`
		}) (*linesAnswer, error) {
			q := in.query()
			q.To, q.Until, q.Count, q.Limit, q.After = in.To, in.Until, in.Count, in.Limit, in.After
			page, err := desk.Lines(ctx, in.Project, in.Number, q)
			return &linesAnswer{page}, err
		})
	register(a, huma.Operation{OperationID: "followLines", Method: http.MethodGet, Path: lines + "/events", Summary: "Follow lines of a build's output",
		Description: "Server-sent events: each named `line`, with the line as JSON in its data and in its id what `Last-Event-ID` or `after` go on behind. " +
			"Behind the last line of a build that is done comes one named `end`.",
		Responses: produces(eventType, "The lines, until the build is done.")},
		func(ctx context.Context, in *struct {
			InLines
			After  string `query:"after" maxLength:"2000" doc:"goes on behind that line"`
			Behind string `header:"Last-Event-ID" maxLength:"2000" doc:"the same"`
		}) (*streamed, error) {
			q := in.query()
			if q.After = in.Behind; q.After == "" {
				q.After = in.After
			}
			follow, err := desk.FollowLines(ctx, in.Project, in.Number, q)
			if err != nil {
				return nil, err
			}
			return a.stream(eventType, func(ctx context.Context, w *streamWriter) error {
				return a.sendEvents(ctx, w, func(ctx context.Context, send func(message) error) error {
					return follow(ctx, func(l app.LogLine, after string) error {
						data, err := json.Marshal(l)
						if err != nil {
							return fmt.Errorf("encode a line: %w", err)
						}
						return send(message{id: after, name: "line", data: data})
					})
				})
			}), nil
		})
}
