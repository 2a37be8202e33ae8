package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// headline says in a line what happened: "app #12 failed on main (broken)".
func headline(n ci.Notice) string {
	if n.Test {
		return "a test of Sluice's notifications"
	}
	text := fmt.Sprintf("%s #%d", n.Project, n.Number)
	switch {
	case n.Step != "":
		text += " " + strings.TrimPrefix(string(n.Step), string(n.Build)+"/")
	case n.Job != "":
		text += " " + strings.TrimPrefix(string(n.Job), string(n.Build)+"/")
	}
	text += " " + done(n)
	if b := Branch(n.Ref); b != "" {
		text += " on " + b
	}
	if n.Change != "" {
		text += " (" + n.Change + ")"
	}
	return oneLine(text)
}

// done is what happened, as a verb.
func done(n ci.Notice) string {
	switch n.Event {
	case ci.EventCancel:
		return "is asked to stop"
	case ci.EventBuildQueued, ci.EventJobQueued:
		return "is queued"
	case ci.EventBuildStarted, ci.EventJobStarted, ci.EventStepStarted:
		return "has started"
	}
	switch n.Status {
	case ci.TimedOut:
		return "timed out"
	case ci.Canceled:
		return "was canceled"
	case ci.Skipped:
		return "was skipped"
	case ci.Unstable:
		return "is unstable"
	}
	return string(n.Status)
}

// detail is one more thing to know of a build.
type detail struct{ name, value string }

func details(n ci.Notice) []detail {
	var all []detail
	add := func(name, value string) {
		const most = 300
		if runes := []rune(value); len(runes) > most {
			value = string(runes[:most]) + "…"
		}
		if value = oneLine(value); value != "" {
			all = append(all, detail{name, value})
		}
	}
	add("Reason", n.Reason)
	commit := n.Commit
	if len(commit) > 8 {
		commit = commit[:8]
	}
	add("Commit", strings.TrimSpace(commit+" "+n.Subject))
	add("Author", n.Author)
	add("Started by", n.Initiator)
	if !n.Started.IsZero() && n.Ended.After(n.Started) {
		add("Took", n.Ended.Sub(n.Started).Round(100*time.Millisecond).String())
	}
	return all
}

// oneLine makes text of others safe for a header and a line.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return ' ' // controls, and those that turn the direction of writing round
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
}
