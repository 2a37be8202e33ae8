package engine

import (
	"cmp"
	"slices"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Load says what this process has running and waiting: every job, in no project's
// order but by age.
func (e *Engine) Load() ci.Load {
	l := ci.Load{Time: e.cfg.Now(), Capacity: share(e.cfg.Capacity)}
	var running []*entry
	q := e.queue
	q.mu.Lock()
	l.Used = share(q.used)
	for _, en := range q.taken {
		running = append(running, en)
	}
	for _, line := range q.projects {
		for _, list := range [][]*entry{line.begun, line.fresh} {
			for _, en := range list {
				if !en.gone.Load() {
					l.Waiting = append(l.Waiting, en.waiting())
				}
			}
		}
	}
	for _, en := range q.again {
		l.Waiting = append(l.Waiting, en.waiting())
	}
	q.mu.Unlock()
	for _, en := range running { // which takes the locks of their builds
		l.Running = append(l.Running, en.running())
	}
	l.Waiting = append(l.Waiting, e.compiling()...)
	older := func(a, b ci.LoadJob) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Project, b.Project), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Job, b.Job))
	}
	slices.SortFunc(l.Running, older)
	slices.SortFunc(l.Waiting, older)
	return l
}

func share(d Demand) ci.Share { return ci.Share{CPUs: d.CPUs, Memory: d.Memory} }

// waiting tells a job that is ready. Under q.mu.
func (en *entry) waiting() ci.LoadJob {
	j := en.told()
	j.Since = en.since
	if n := len(en.waits); n > 0 {
		j.For, j.Detail = en.waits[n-1].For, en.waits[n-1].Detail
	}
	return j
}

// told is what of a job never changes.
func (en *entry) told() ci.LoadJob {
	return ci.LoadJob{Project: en.line.project, Number: en.number, Job: en.job.Name(), Executor: en.executor, Takes: share(en.need), Since: en.since}
}

// running tells a job that was handed out.
func (en *entry) running() ci.LoadJob {
	j := en.told()
	en.b.mu.Lock()
	defer en.b.mu.Unlock()
	run := en.b.rec.Job(en.job)
	if run == nil || run.Started.IsZero() {
		return j
	}
	j.Since = run.Started
	for i := range run.Steps {
		s := &run.Steps[i]
		if s.Kind == ci.KindPhase && !s.Status.Done() {
			j.Phase = s.Phase
		}
		if s.Environment != nil {
			j.Executor = s.Environment.Executor
		}
	}
	return j
}

// compiling are the builds whose definition is still to be read.
func (e *Engine) compiling() (list []ci.LoadJob) {
	e.mu.Lock()
	all := make([]*build, 0, len(e.builds))
	for _, b := range e.builds {
		all = append(all, b)
	}
	e.mu.Unlock()
	for _, b := range all {
		b.mu.Lock()
		if b.rec.Status == ci.Queued {
			list = append(list, ci.LoadJob{Project: b.rec.Project, Number: b.rec.Number, Executor: b.rec.Runtime.Executor, Since: b.rec.Queued, For: "definition", Detail: "its source and definition are being read"})
		}
		b.mu.Unlock()
	}
	return list
}
