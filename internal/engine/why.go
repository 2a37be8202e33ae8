package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// What a job can wait for, as ci.Wait.For has it.
const (
	waitMemory     = "memory"
	waitProcessors = "processors"
	waitRunner     = "runner"     // a free slot
	waitTurn       = "turn"       // as many builds of the project run as may
	waitOrder      = "order"      // older jobs of the project are before it
	waitBigger     = "bigger job" // the machine is kept free for one
)

// maxWaits is how many times of waiting are told apart for one job.
const maxWaits = 16

// noteWait notes what a job that is ready waits for from now on. Under q.mu.
func (q *queue) noteWait(en *entry) {
	sum := q.used.plus(en.need)
	switch l := en.line; {
	case len(l.begun) > 0 && l.begun[0] != en, len(l.begun) == 0 && len(l.fresh) > 0 && l.fresh[0] != en:
		q.blocked(en, waitOrder)
	case q.builds[en.job.Build()] == nil && l.full(en):
		q.blocked(en, waitTurn)
	case en.need.Memory > 0 && q.capacity.Memory > 0 && sum.Memory > q.capacity.Memory:
		q.blocked(en, waitMemory)
	case en.need.CPUs > 0 && q.capacity.CPUs > 0 && sum.CPUs > q.capacity.CPUs:
		q.blocked(en, waitProcessors)
	default:
		q.blocked(en, waitRunner)
	}
}

// blocked is noteWait for what is known. Words are made only when it is another
// thing than before. Under q.mu.
func (q *queue) blocked(en *entry, what string) {
	if n := len(en.waits); n > 0 && en.waits[n-1].For == what || n == maxWaits {
		return
	}
	q.endWait(en)
	var detail string
	switch what {
	case waitMemory:
		detail = fmt.Sprintf("%s of %s in use by %s", gib(q.used.Memory), gib(q.capacity.Memory), q.users(func(d Demand) float64 { return float64(d.Memory) }))
	case waitProcessors:
		detail = fmt.Sprintf("%s of %s in use by %s", number(q.used.CPUs), number(q.capacity.CPUs), q.users(func(d Demand) float64 { return d.CPUs }))
	case waitRunner:
		detail = count(len(q.taken), "job") + " running"
	case waitTurn:
		detail = fmt.Sprintf("%s runs at most %s at once", en.line.project, count(en.limit, "build"))
	case waitOrder:
		detail = "older jobs of " + en.line.project + " are before it"
	}
	en.waits = append(en.waits, ci.Wait{For: what, Detail: detail, Since: q.now()})
}

// endWait notes how long the last waiting was. Under q.mu.
func (q *queue) endWait(en *entry) {
	if n := len(en.waits); n > 0 && en.waits[n-1].Seconds == 0 {
		w := &en.waits[n-1]
		w.Seconds = max(q.now().Sub(w.Since), 0).Seconds()
	}
}

// whyStarted is why a job begins now. Under b.mu.
func (e *Engine) whyStarted(b *build, j *ci.JobRun, en *entry) ci.Decision {
	d := ci.Decision{Conditions: needs(b.rec.Jobs, j)}
	limit := b.rec.Limits
	if limit.Jobs > 0 {
		d.Conditions = append(d.Conditions, ci.Condf(true, fmt.Sprintf("at most %s of the build at once", count(limit.Jobs, "job")), "%d with this one", len(b.offered)))
	}
	q := e.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	d.Waits = append(d.Waits, en.waits...)
	if limit.Builds > 0 && en.line != nil {
		d.Conditions = append(d.Conditions, ci.Condf(true, fmt.Sprintf("at most %s of the project at once", count(limit.Builds, "build")), "%d with this one", en.line.builds))
	}
	if en.need.CPUs > 0 && q.capacity.CPUs > 0 {
		d.Conditions = append(d.Conditions, ci.Condf(true, number(en.need.CPUs)+" processors are free", "%s of %s in use with it", number(q.used.CPUs), number(q.capacity.CPUs)))
	}
	if en.need.Memory > 0 && q.capacity.Memory > 0 {
		d.Conditions = append(d.Conditions, ci.Condf(true, gib(en.need.Memory)+" of memory are free", "%s of %s in use with it", gib(q.used.Memory), gib(q.capacity.Memory)))
	}
	return d
}

// needs says how what a job needs ended.
func needs(jobs []ci.JobRun, j *ci.JobRun) (list []ci.Condition) {
	for _, n := range j.Needs {
		c := ci.Condition{What: "job " + n + " ended well"}
		if need := latest(jobs, n); need != nil {
			c.Got = string(need.Status)
			c.Met = need.Status.OK() || need.AllowFailure && need.Status == ci.Failed
			if c.Met && !need.Status.OK() {
				c.Got += ", which it may"
			}
		}
		list = append(list, c)
	}
	return list
}

// whyNever is why a job ends that never began: what it needs, or that the build stops.
func whyNever(cancel string, jobs []ci.JobRun, j *ci.JobRun) ci.Decision {
	d := ci.Decision{}
	if cancel != "" {
		d.Conditions = append(d.Conditions, ci.Condition{What: "nobody stopped the build", Got: cancel})
	}
	d.Conditions = append(d.Conditions, needs(jobs, j)...)
	for i := range jobs {
		if o := &jobs[i]; cancel == "" && anyFailed(jobs[i:i+1]) {
			d.Conditions = append(d.Conditions, ci.Condition{What: "no other job failed", Got: o.Name + " " + string(o.Status)})
			break
		}
	}
	return d
}

// whyCanceled is who or what wanted a build to stop.
func (e *Engine) whyCanceled(ctx context.Context, rec *ci.Build, cause error) ci.Decision {
	if errors.Is(cause, ci.ErrQueueTime) {
		return ci.Decision{Conditions: []ci.Condition{ci.Condf(false, "began within "+rec.Limits.Queue.String(), "waiting since %s", rec.Queued.UTC().Format(time.DateTime))}}
	}
	d := ci.Decision{Conditions: []ci.Condition{{What: "wanted", Got: cause.Error(), Met: true}}}
	if u, ok := ci.UserFrom(ctx); ok {
		d.By = u.Name
	}
	return d
}

// whyCompiled is what was made of the source and the definition: asked is the
// build as it was wanted, rec as it then became.
func (e *Engine) whyCompiled(asked, rec *ci.Build, problems ci.Problems) ci.Decision {
	source := ci.Condition{What: "source " + asked.Source.Location, Met: true, Got: "as it is"}
	if asked.Source.Version != "" {
		source.What += " at " + asked.Source.Version
	}
	if rec.Commit.Hash != "" {
		source.Got = strings.TrimSpace(rec.Commit.Hash + " " + rec.Commit.Ref)
	}
	if rec.Status == ci.Errored && rec.Commit == (ci.Commit{}) {
		source.Met, source.Got = false, rec.Reason
		return ci.Decision{Conditions: []ci.Condition{source}}
	}
	definition := ci.Condition{What: "definition", Met: !rec.Status.Done(), Got: rec.File}
	switch {
	case asked.Inline != "":
		definition.What = "definition given with the build"
	case asked.File == "":
		var names []string
		for _, f := range e.cfg.Fronts {
			names = append(names, f.Files()...)
		}
		definition.What = "definition, the first of " + strings.Join(names, ", ")
	}
	d := ci.Decision{Conditions: []ci.Condition{source, definition}}
	switch {
	case len(problems) > 0:
		d.Conditions = append(d.Conditions, ci.Condition{What: "it compiles", Got: count(len(problems), "problem")})
	case rec.Status.Done():
		d.Conditions = append(d.Conditions, ci.Condition{What: "it can be read", Got: rec.Reason})
	default:
		d.Conditions = append(d.Conditions, ci.Condition{What: "it compiles", Got: count(len(rec.Plan.Jobs), "job"), Met: true})
	}
	return d
}

// History is what is stored of a build, done or not.
func (e *Engine) History(ctx context.Context, id ci.BuildID) ([]ci.Event, error) {
	if b, err := e.build(id); err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.events[:b.stored:b.stored], nil
	}
	_, events, err := e.cfg.Store.Load(ctx, id)
	return events, err
}
