package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Request asks for a build.
type Request struct {
	ID        ci.BuildID // "" = a new one; a second Start with the same ID finds the first
	Key       string     // what makes a second Start of the project find the first; "" = nothing
	Number    int64      // 0 = the project's next
	Project   string
	Source    ci.Source
	Initiator string
	File      string // definition path in the source; "" = the first found of what the front ends answer to
	Inline    string // the definition itself; File then only names its format
	Batch     bool
	Variables []ci.Variable // over the definition's
	Runtime   ci.Runtime    // for jobs that do not say otherwise
	Limits    ci.Limits
	RetryOf   ci.BuildID   // the build that this one does again
	Asked     string       // a sum of what asks for it, to tell another request under the same Key
	Redo      []string     // jobs of RetryOf to do again, with those that need them; the others are taken over
	Attempt   int          // how often it was tried before, by itself
	After     *ci.BuildRef // the build that brought it about
	Packaging string       // of artifacts: zip or folder; "" = as the runner has it
	Untrusted bool         // of what strangers wrote: it gets no secrets
}

// Start stores the build and, where Run does not, compiles its definition. A
// definition that does not compile is not an error of Start: the build has then
// ended as failed, with its Problems. An error means that nothing was started.
func (e *Engine) Start(ctx context.Context, r Request) (ci.BuildID, error) {
	b, _, err := e.Enqueue(ctx, r)
	return b.ID, err
}

// Enqueue is Start, and gives the build as it was stored. made is false when a
// build was started with the same Key or ID before: that one is the answer.
func (e *Engine) Enqueue(ctx context.Context, r Request) (got ci.Build, made bool, err error) {
	now := e.cfg.Now()
	if r.ID == "" {
		r.ID = ci.NewBuildID(now)
	}
	if _, err := e.build(r.ID); err == nil {
		got, err = e.Build(ctx, r.ID)
		return got, false, err
	}
	defer e.expect(r.ID)()
	got, made, err = e.cfg.Store.Create(ctx, ci.Build{
		ID: r.ID, Number: r.Number, Project: r.Project, Source: r.Source, Initiator: r.Initiator, Node: e.cfg.Node.Name,
		File: r.File, Inline: r.Inline, Status: ci.Queued, Queued: now, Variables: r.Variables, Runtime: r.Runtime,
		Batch: r.Batch, Limits: r.Limits, RetryOf: r.RetryOf, Asked: r.Asked, Redo: r.Redo, Attempt: r.Attempt, After: r.After, Packaging: r.Packaging, Untrusted: r.Untrusted,
	}, r.Key)
	if err != nil {
		return got, false, fmt.Errorf("start build of %s: %w", r.Project, err)
	}
	if !made || got.Node != e.cfg.Node.Name { // it may be for the node that has the project's others
		return got, made, nil
	}
	b := newBuild(got)
	first := ci.NewEvent(ci.EventBuildQueued, got)
	first.Seq, first.Time = 1, got.Queued
	b.events, b.stored = []ci.Event{first}, 1
	return got, true, e.begin(ctx, b)
}

// advance takes a build as far as it goes without a runner: compile, skip what
// cannot run, finish. It is called after every change, and after a restart.
func (e *Engine) advance(ctx context.Context, b *build) error {
	if err := e.compile(ctx, b); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rec.Status == ci.Running {
		if err := e.settle(ctx, b); err != nil {
			return err
		}
	}
	if b.rec.Status.Done() {
		e.drop(b.rec.ID)
	} else {
		e.offer(b)
	}
	return nil
}

// compile turns a queued build into a running one with jobs, or into a failed
// one with problems. The source is looked at without the build's lock, because
// it may be far away: the build can be canceled meanwhile.
func (e *Engine) compile(ctx context.Context, b *build) error {
	b.mu.Lock()
	if b.rec.Status != ci.Queued || b.give != nil {
		b.mu.Unlock()
		return nil
	}
	looking, give := context.WithCancel(ctx)
	defer give()
	b.give = give
	rec := clone(b.rec)
	b.mu.Unlock()

	plan, err := e.plan(looking, &rec)
	if err == nil {
		err = e.guard(&rec, plan)
	}
	var taken map[string]ci.JobRun
	if err == nil {
		taken, err = e.takeOver(looking, &rec, plan, e.cfg.Now())
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	b.give = nil
	if b.rec.Status != ci.Queued {
		return nil
	}
	now := e.cfg.Now()
	rec.Started = now
	var problems ci.Problems
	switch {
	case errors.As(err, &problems):
		return e.refuse(ctx, b, rec, ci.Failed, "the definition does not compile", problems)
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		return e.refuse(ctx, b, rec, ci.Errored, ci.Message(err), nil)
	}
	rec.Status, rec.Plan, rec.Jobs = ci.Running, plan, nil
	events := []ci.Event{ci.NewEvent(ci.EventBuildStarted, rec).Because(e.whyCompiled(&b.rec, &rec, nil))}
	for _, j := range plan.Jobs {
		if run, ok := taken[j.Name]; ok {
			events = append(events, ci.NewEvent(ci.EventJobQueued, run))
			continue
		}
		events = append(events, ci.NewEvent(ci.EventJobQueued, ci.JobRun{
			ID: rec.ID.Job(j.Name, 1), Name: j.Name, Needs: j.Needs, AllowFailure: j.AllowFailure,
			Status: ci.Queued, Queued: now,
		}))
	}
	return e.commit(ctx, b, events...)
}

func (e *Engine) refuse(ctx context.Context, b *build, rec ci.Build, s ci.Status, reason string, problems ci.Problems) error {
	rec.Status, rec.Reason, rec.Problems, rec.Ended = s, reason, problems, e.cfg.Now()
	return e.commit(ctx, b, ci.NewEvent(ci.EventBuildFinished, rec).Because(e.whyCompiled(&b.rec, &rec, problems)))
}

// plan resolves the source, finds the definition and compiles it. It fills in
// rec.Commit and rec.File.
func (e *Engine) plan(ctx context.Context, rec *ci.Build) (*ci.Plan, error) {
	commit, err := e.cfg.Fetcher.Resolve(ctx, rec.Source)
	if err != nil {
		return nil, fmt.Errorf("resolve source %s: %w", rec.Source.Location, err)
	}
	rec.Commit = commit
	read := func(name string) ([]byte, error) {
		return e.cfg.Fetcher.ReadFile(ctx, rec.Source, commit, name)
	}
	front, text, err := e.find(rec, read)
	if err != nil {
		return nil, err
	}
	parameters := map[string]string{}
	for _, v := range rec.Variables {
		if !v.Secret() {
			parameters[v.Name] = v.Value
		}
	}
	plan, err := front.Compile(ci.Definition{Path: rec.File, Text: text, Batch: rec.Batch, Parameters: parameters, Read: read})
	if err != nil {
		return nil, err
	}
	return plan, check(plan)
}

// guard is Config.Guard.
func (e *Engine) guard(rec *ci.Build, plan *ci.Plan) error {
	if !e.cfg.Guard || rec.Runtime.Privileged {
		return nil
	}
	for _, j := range plan.Jobs {
		if j.Runtime.Privileged {
			return ci.Problems{{Pos: ci.Pos{File: plan.File}, Severity: ci.Error,
				Message: fmt.Sprintf("build %q wants privileged-mode, which its project does not have: leave it out, or ask an administrator of the server to allow it for the project", j.Name)}}
		}
	}
	return nil
}

// find picks the definition and the front end that answers to its name.
func (e *Engine) find(rec *ci.Build, read func(string) ([]byte, error)) (ci.FrontEnd, []byte, error) {
	names := []string{rec.File}
	if rec.File == "" {
		names = nil
		for _, f := range e.cfg.Fronts {
			names = append(names, f.Files()...)
		}
	}
	if rec.Inline != "" {
		rec.File = names[0]
		return e.front(rec.File), []byte(rec.Inline), nil
	}
	for _, name := range names {
		text, err := read(name)
		if errors.Is(err, ci.ErrNotFound) {
			continue
		}
		if errors.Is(err, ci.ErrInvalid) {
			return nil, nil, ci.Problems{{Pos: ci.Pos{File: name}, Severity: ci.Error, Message: ci.Message(err)}}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
		rec.File = name
		return e.front(name), text, nil
	}
	if rec.File != "" {
		return nil, nil, ci.Problems{{Pos: ci.Pos{File: rec.File}, Severity: ci.Error,
			Message: "YAML_FILE_ERROR: stat " + rec.File + ": no such file or directory; give the path below the source's root with --file"}}
	}
	return nil, nil, ci.Problems{{Pos: ci.Pos{File: rec.Source.Location}, Severity: ci.Error,
		Message: fmt.Sprintf("no definition found; looked for %s. Add a buildspec.yml, or name the file with --file", strings.Join(names, ", "))}}
}

// front is the front end for a file name: by its exact base name, else by its
// ending, else the first.
func (e *Engine) front(name string) ci.FrontEnd {
	base := path.Base(name)
	for _, f := range e.cfg.Fronts {
		if slices.Contains(f.Files(), base) {
			return f
		}
	}
	for _, f := range e.cfg.Fronts {
		for _, known := range f.Files() {
			if ext := path.Ext(known); ext != "" && ext == path.Ext(base) {
				return f
			}
		}
	}
	return e.cfg.Fronts[0]
}

// check refuses a plan that no front end should make: names that cannot be
// part of an ID, twice the same, needs that do not exist, circles.
func check(p *ci.Plan) error {
	if len(p.Jobs) == 0 {
		return fmt.Errorf("plan of %s has no jobs: %w", p.File, ci.ErrInvalid)
	}
	index := map[string]int{}
	for i, j := range p.Jobs {
		if err := ci.CheckJobName(j.Name); err != nil {
			return err
		}
		if _, twice := index[j.Name]; twice {
			return fmt.Errorf("plan of %s has two jobs %q: %w", p.File, j.Name, ci.ErrInvalid)
		}
		index[j.Name] = i
	}
	state := make([]int, len(p.Jobs)) // 1 = on the path from the root, 2 = seen whole
	var visit func(i int) error
	visit = func(i int) error {
		switch state[i] {
		case 1:
			return fmt.Errorf("plan of %s: job %q needs itself in a circle: %w", p.File, p.Jobs[i].Name, ci.ErrInvalid)
		case 2:
			return nil
		}
		state[i] = 1
		for _, n := range p.Jobs[i].Needs {
			k, ok := index[n]
			if !ok {
				return fmt.Errorf("plan of %s: job %q needs %q, which is not there: %w", p.File, p.Jobs[i].Name, n, ci.ErrInvalid)
			}
			if err := visit(k); err != nil {
				return err
			}
		}
		state[i] = 2
		return nil
	}
	for i := range p.Jobs {
		if err := visit(i); err != nil {
			return err
		}
	}
	return nil
}
