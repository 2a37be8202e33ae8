package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// eventsAtOnce is how many events one look takes in.
const eventsAtOnce = 200

// lag is how far the stored cursor may be behind what was read, where nothing of
// it was for the target: each step of the cursor is a write.
const lag = 10_000

// plan reads on behind the cursor that is furthest back, for all targets that
// have not seen those events, and stores what they call for. more says that there
// may be further events.
func (n *Notifier) plan(ctx context.Context, targets []ci.Target) (more bool, err error) {
	after, types := int64(-1), []ci.EventType{}
	for _, t := range targets {
		at := max(t.Seen, n.read[t.ID])
		n.read[t.ID] = at
		if after < 0 || at < after {
			after = at
		}
		for _, e := range wanted(t) {
			if !slices.Contains(types, e) {
				types = append(types, e)
			}
		}
	}
	slices.Sort(types)
	events, upTo, err := n.cfg.Store.Happened(ctx, after, eventsAtOnce, types...)
	if err != nil || upTo == after {
		return false, err
	}
	known := buildsOf(n.cfg.Store)
	var plans []ci.Planned
	for i := range targets {
		t := &targets[i]
		p := ci.Planned{Target: t.ID, From: t.Seen, To: upTo}
		if n.read[t.ID] >= upTo {
			continue
		}
		for _, e := range events {
			if e.Cursor <= n.read[t.ID] || t.Disabled || !slices.Contains(wanted(*t), e.Type) {
				continue
			}
			notice, ok, err := known.notice(ctx, n.cfg.URL(), e)
			if errors.Is(err, ci.ErrInvalid) {
				n.cfg.Log.Error("an event cannot be read, and nobody is told of it", "build", e.Build, "event", e.Seq, "err", err)
				continue
			}
			if err != nil {
				return false, err
			}
			if ok && Wants(*t, notice) {
				now := n.cfg.Now()
				p.Deliveries = append(p.Deliveries, ci.Delivery{Event: e.Cursor, Created: now, Due: now, Notice: notice})
			}
		}
		if len(p.Deliveries) > 0 || p.To-p.From > lag {
			plans = append(plans, p)
		}
	}
	if len(plans) > 0 {
		if err := n.cfg.Store.Plan(ctx, plans); err != nil {
			clear(n.read) // another process may have read on: what is stored counts
			return false, err
		}
	}
	for i := range targets {
		n.read[targets[i].ID] = max(n.read[targets[i].ID], upTo)
	}
	for _, p := range plans {
		for i := range targets {
			if targets[i].ID == p.Target {
				targets[i].Seen = p.To
			}
		}
	}
	return len(events) == eventsAtOnce, nil
}

func wanted(t ci.Target) []ci.EventType {
	if len(t.Events) == 0 {
		return []ci.EventType{ci.EventBuildFinished}
	}
	return t.Events
}

// Wants says whether the filter of a target lets a notice through.
func Wants(t ci.Target, n ci.Notice) bool {
	switch {
	case !slices.Contains(wanted(t), n.Event),
		t.Project != "" && t.Project != n.Project,
		len(t.Projects) > 0 && !anyMatch(t.Projects, n.Project),
		len(t.Statuses) > 0 && !slices.Contains(t.Statuses, n.Status),
		len(t.Branches) > 0 && !anyMatch(t.Branches, Branch(n.Ref)),
		t.Changed && n.Change == "" && n.Event == ci.EventBuildFinished:
		return false
	}
	return true
}

// Branch is a ref as people say it.
func Branch(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if rest, ok := strings.CutPrefix(ref, prefix); ok {
			return rest
		}
	}
	return ref
}

// anyMatch says whether a name is like one of the patterns, in which * stands for
// any text, slashes too, and ? for one character.
func anyMatch(patterns []string, name string) bool {
	// path.Match stops at slashes, which names of branches have.
	flat := strings.NewReplacer("/", "\x01")
	for _, p := range patterns {
		if ok, err := path.Match(flat.Replace(p), flat.Replace(name)); ok && err == nil {
			return true
		}
	}
	return false
}

// builds are those that a batch of events is about.
type builds struct {
	store  Store
	listed map[ci.BuildID]ci.Build
}

func buildsOf(s Store) *builds { return &builds{store: s, listed: map[ci.BuildID]ci.Build{}} }

// notice makes of an event what targets are told. ok is false when its build was
// deleted meanwhile: there is nothing to look at any more.
func (k *builds) notice(ctx context.Context, url string, e ci.Stamped) (n ci.Notice, ok bool, err error) {
	b, err := k.build(ctx, e)
	if errors.Is(err, ci.ErrNotFound) {
		return n, false, nil
	}
	if err != nil {
		return n, false, err
	}
	n = NoticeOf(url, b)
	n.Event, n.Seq, n.Job, n.Step, n.Time = e.Type, e.Seq, e.Job, e.Step, e.Time
	if e.Status != "" {
		n.Status = e.Status
	}
	switch {
	case e.Type == ci.EventBuildFinished:
		before, err := k.store.Before(ctx, b)
		if err != nil {
			return n, false, err
		}
		n.Change = change(before, b.Status)
	case e.Job != "":
		var of struct {
			Reason string `json:"reason"` // of the job; steps have none
		}
		if err := json.Unmarshal(e.Data, &of); err == nil {
			n.Reason = of.Reason
		}
	}
	return n, true, nil
}

// build is the one that an event is about: as it was then, or, of an event of a
// job or a step, as it is now.
func (k *builds) build(ctx context.Context, e ci.Stamped) (b ci.Build, err error) {
	if e.Job == "" {
		if err := json.Unmarshal(e.Data, &b); err != nil {
			return b, fmt.Errorf("event %d of build %s: %w: %w", e.Seq, e.Build, err, ci.ErrInvalid)
		}
		return b, nil
	}
	if b, ok := k.listed[e.Build]; ok {
		return b, nil
	}
	if b, err = k.store.Listed(ctx, e.Build); err == nil {
		k.listed[e.Build] = b
	}
	return b, err
}

// NoticeOf is what is told of a build whatever happens to it.
func NoticeOf(url string, b ci.Build) ci.Notice {
	ref := b.Commit.Ref
	if ref == "" {
		ref = b.Source.Version
	}
	return ci.Notice{
		Project: b.Project, Number: b.Number, Build: b.ID, Status: b.Status, Reason: b.Reason, Ref: ref,
		Commit: b.Commit.Hash, Subject: b.Commit.Subject, Author: b.Commit.Author, Initiator: b.Initiator,
		Queued: b.Queued, Started: b.Started, Ended: b.Ended, URL: fmt.Sprintf("%s/projects/%s/builds/%d", url, b.Project, b.Number),
	}
}

// change compares the end of a build with that of the one before. Builds that
// were canceled or skipped change nothing.
func change(before, now ci.Status) string {
	switch {
	case now == ci.Canceled || now == ci.Skipped:
		return ""
	case now.OK() && before != "" && !before.OK():
		return ci.ChangeFixed
	case !now.OK() && (before == "" || before.OK()):
		return ci.ChangeBroken
	}
	return ""
}
