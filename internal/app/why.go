package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Because is one decision about a build, in words and with its grounds.
type Because struct {
	Time  time.Time    `json:"time"`
	Seq   int64        `json:"seq,omitempty" doc:"of the event that it was; not there while it lasts"`
	What  string       `json:"what" doc:"asked, started, refused, waiting, skipped, canceled, retry, cache or ended"`
	Job   string       `json:"job,omitempty" doc:"name of the job"`
	Step  string       `json:"step,omitempty" doc:"ID of the step"`
	Text  string       `json:"text" doc:"in words"`
	Cache *ci.CacheUse `json:"cache,omitempty"`
	ci.Decision
}

// Why lists the decisions about a build, in order: what it was asked for by, what
// each job waited for, why it began or never did, which caches were found, and
// how it ended. Of one that waits, the last says for what.
func (a *App) Why(ctx context.Context, project string, number int64) ([]Because, error) {
	id, _, err := a.find(ctx, viewBuild, project, number)
	if err != nil {
		return nil, err
	}
	events, err := a.cfg.Engine.History(ctx, id)
	if err != nil {
		return nil, err
	}
	var list []Because
	var b ci.Build
	for _, e := range events {
		e = a.discreetly(ctx, e)
		if err := b.Apply(e); err != nil {
			return nil, err
		}
		some, err := because(&b, e)
		if err != nil {
			return nil, err
		}
		for i := range some {
			some[i].Time, some[i].Seq = e.Time, e.Seq
			if e.Why != nil {
				some[i].Decision = *e.Why
			}
		}
		list = append(list, some...)
	}
	if text := a.waits(ctx, id); text != "" && !b.Status.Done() {
		list = append(list, Because{Time: a.cfg.Now(), What: "waiting", Text: text})
	}
	return list, nil
}

// because tells an event; most have nothing that was decided.
func because(b *ci.Build, e ci.Event) ([]Because, error) {
	switch e.Type {
	case ci.EventBuildQueued:
		return asked(b), nil
	case ci.EventBuildStarted:
		return []Because{{What: "started", Text: "begun: " + grounds(e.Why)}}, nil
	case ci.EventCancel:
		text := "asked to stop: " + b.Cancel
		if e.Why != nil && e.Why.By != "" {
			text = e.Why.By + " asked it to stop: " + b.Cancel
		} else if failed := unmet(e.Why); failed != "" {
			text = "ended: " + b.Cancel + ": " + failed
		}
		return []Because{{What: "canceled", Text: text}}, nil
	case ci.EventBuildFinished:
		what, text := "ended", "ended: "+string(b.Status)
		if b.Plan == nil && e.Why != nil {
			what, text = "refused", "not begun: "+string(b.Status)
		}
		if b.Reason != "" {
			text += ": " + b.Reason
		}
		for _, p := range b.Problems {
			text += fmt.Sprintf("; %s:%d:%d: %s", p.File, p.Line, p.Col, p.Message)
		}
		return []Because{{What: what, Text: text}}, nil
	case ci.EventJobStarted, ci.EventJobFinished:
		j := b.Job(e.Job)
		return []Because{ofJob(j, e)}, nil
	case ci.EventStepFinished:
		return caches(e)
	}
	return nil, nil
}

func asked(b *ci.Build) []Because {
	text := "asked for by " + b.Initiator
	if b.Initiator == "" {
		text = "asked for"
	}
	list := []Because{{What: "asked", Text: text}}
	if b.RetryOf != "" {
		list = append(list, Because{What: "retry", Text: fmt.Sprintf("does build %s again, at the same commit with the same parameters", b.RetryOf)})
	}
	return list
}

// ofJob tells how a job began or ended.
func ofJob(j *ci.JobRun, e ci.Event) Because {
	out := Because{Job: j.Name}
	switch {
	case e.Type == ci.EventJobStarted:
		out.What, out.Text = "started", "begun at once"
		if e.Why == nil {
			out.Text = "begun"
			return out
		}
		var waits []string
		var total float64
		for _, w := range e.Why.Waits {
			total += w.Seconds
			text := span(w.Seconds) + " for " + waitWords(w.For)
			if w.Detail != "" {
				text += " (" + w.Detail + ")"
			}
			waits = append(waits, text)
		}
		if total >= 0.1 { // less is nobody's waiting
			out.Text = "begun after waiting " + strings.Join(waits, ", then ")
		}
		if g := grounds(e.Why); g != "" {
			out.Text += ": " + g
		}
	case j.Started.IsZero():
		out.What, out.Text = "skipped", "never begun: "+j.Reason
		if j.Status != ci.Skipped {
			out.What = "canceled"
		}
		if failed := unmet(e.Why); failed != "" {
			out.Text += " (" + failed + ")"
		}
	default:
		out.What, out.Text = "ended", "ended: "+string(j.Status)
		if j.Reason != "" {
			out.Text += ": " + j.Reason
		}
	}
	return out
}

func waitWords(what string) string {
	switch what {
	case "runner":
		return "a free runner"
	case "turn":
		return "its project's turn"
	case "order":
		return "what was before it"
	case "bigger job":
		return "a bigger job that was before it"
	}
	return what
}

func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// grounds are the conditions that were met.
func grounds(d *ci.Decision) string {
	var parts []string
	if d != nil {
		for _, c := range d.Conditions {
			if c.Met {
				parts = append(parts, told(c))
			}
		}
	}
	return strings.Join(parts, "; ")
}

// unmet are those that were not.
func unmet(d *ci.Decision) string {
	var parts []string
	if d != nil {
		for _, c := range d.Conditions {
			if !c.Met {
				parts = append(parts, "wanted: "+told(c))
			}
		}
	}
	return strings.Join(parts, "; ")
}

func told(c ci.Condition) string {
	if c.Got == "" {
		return c.What
	}
	return c.What + " (" + c.Got + ")"
}

// caches tells which caches a step found or kept.
func caches(e ci.Event) ([]Because, error) {
	var s ci.StepRun
	if err := json.Unmarshal(e.Data, &s); err != nil {
		return nil, fmt.Errorf("event %d of build %s: %w", e.Seq, e.Build, err)
	}
	var list []Because
	for _, use := range s.Cache {
		text := "cache " + use.Action + ": " + use.Result
		if use.Hit != "" {
			text += " of " + quoted(use.Hit)
		}
		if len(use.Tried) > 0 {
			text += "; tried " + quoted(use.Tried...)
		} else if use.Key != "" {
			text += "; key " + quoted(use.Key)
		}
		if use.Reason != "" {
			text += "; " + use.Reason
		}
		list = append(list, Because{What: "cache", Job: e.Job.Name(), Step: string(e.Step), Text: text, Cache: &use})
	}
	return list, nil
}

func quoted(keys ...string) string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = fmt.Sprintf("%q", k)
	}
	return strings.Join(out, ", ")
}
