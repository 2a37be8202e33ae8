package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Demand is a share of the machine: processors, and bytes of memory.
type Demand struct {
	CPUs   float64
	Memory int64
}

func (d Demand) plus(o Demand) Demand  { return Demand{d.CPUs + o.CPUs, d.Memory + o.Memory} }
func (d Demand) minus(o Demand) Demand { return Demand{d.CPUs - o.CPUs, d.Memory - o.Memory} }

// within is d, cut to a limit whose zero values are none.
func (d Demand) within(limit Demand) Demand {
	if limit.CPUs > 0 {
		d.CPUs = min(d.CPUs, limit.CPUs)
	}
	if limit.Memory > 0 {
		d.Memory = min(d.Memory, limit.Memory)
	}
	return d
}

// queue brings jobs that are ready together with runners that want one. It
// decides the order: first what ran before a restart, since it has its place
// already; then fairly between projects, the one with the fewest running jobs
// first; within a project by age.
//
// Its lock is taken below that of a build, never the other way round.
type queue struct {
	capacity Demand
	now      func() time.Time

	mu       sync.Mutex
	used     Demand
	again    []*entry // that ran before a restart
	projects map[string]*line
	builds   map[ci.BuildID]*line // those that have begun
	taken    map[ci.JobID]*entry
	runners  []chan *entry // that wait, oldest first
	last     int64
}

// line is one project's ready jobs.
type line struct {
	project string
	begun   []*entry // of builds that have begun
	fresh   []*entry // of builds that have not
	running int      // jobs
	builds  int      // that have begun and are not done
}

// entry is a job that is ready, or that was handed out.
type entry struct {
	b        *build
	job      ci.JobID
	line     *line
	limit    int // of the project's builds at once; 0 = none
	need     Demand
	since    time.Time
	seq      int64
	title    string      // "project #12", for people
	number   int64       // of the build
	executor string      // that is asked for
	passed   int         // how often a younger job went first because this did not fit
	gone     atomic.Bool // it cannot run any more
	waits    []ci.Wait   // what it waited for, in order; the last one has no length before it is taken
}

// patience is how often a job that does not fit is passed by. After that nothing
// that takes of the machine begins before it, or small jobs would starve a big one.
const patience = 16

func newQueue(capacity Demand, now func() time.Time) *queue {
	return &queue{
		capacity: capacity, now: now, projects: map[string]*line{}, builds: map[ci.BuildID]*line{}, taken: map[ci.JobID]*entry{},
	}
}

// offer puts a job up. With again set it ran before this process began.
func (q *queue) offer(project string, en *entry, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	en.line = q.projects[project]
	if en.line == nil {
		en.line = &line{project: project}
		q.projects[project] = en.line
	}
	q.last++
	en.seq = q.last
	en.need = en.need.within(q.capacity) // what is bigger than the machine has it alone
	switch {
	case again:
		q.again = append(q.again, en)
	case q.builds[en.job.Build()] != nil:
		en.line.begun = append(en.line.begun, en)
	default:
		en.line.fresh = append(en.line.fresh, en)
	}
	q.match()
	if q.taken[en.job] == nil {
		q.noteWait(en)
	}
}

// take waits for a job.
func (q *queue) take(ctx context.Context) (*entry, error) {
	got := make(chan *entry, 1)
	q.mu.Lock()
	q.runners = append(q.runners, got)
	q.match()
	q.mu.Unlock()
	select {
	case en := <-got:
		return en, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.runners, got); i >= 0 {
		q.runners = slices.Delete(q.runners, i, i+1)
		return nil, context.Cause(ctx)
	}
	en := <-got // handed over in the same moment: it is the next one's
	q.free(en)
	en.line.begun = slices.Insert(en.line.begun, 0, en)
	q.match()
	return nil, context.Cause(ctx)
}

// release gives back what a job took.
func (q *queue) release(id ci.JobID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if en := q.taken[id]; en != nil {
		q.free(en)
		q.match()
	}
}

func (q *queue) free(en *entry) {
	delete(q.taken, en.job)
	q.used = q.used.minus(en.need)
	en.line.running--
}

// forget ends a build: the next one of its project may begin.
func (q *queue) forget(id ci.BuildID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.builds[id]
	if l == nil {
		return
	}
	delete(q.builds, id)
	l.builds--
	if l.builds == 0 && l.running == 0 && len(l.begun) == 0 && len(l.fresh) == 0 {
		delete(q.projects, l.project)
	}
	q.match()
}

// match hands jobs to runners while there are both. Under q.mu.
func (q *queue) match() {
	for len(q.runners) > 0 {
		en := q.next()
		if en == nil {
			return
		}
		q.taken[en.job] = en
		q.endWait(en)
		q.used = q.used.plus(en.need)
		en.line.running++
		if id := en.job.Build(); q.builds[id] == nil {
			q.builds[id] = en.line
			en.line.builds++
			q.promote(en.line, id)
		}
		q.runners[0] <- en
		q.runners = q.runners[1:]
	}
}

// promote moves the other ready jobs of a build that has just begun to the front.
func (q *queue) promote(l *line, id ci.BuildID) {
	for len(l.fresh) > 0 && l.fresh[0].job.Build() == id { // offered together, so they stand together
		l.begun = append(l.begun, l.fresh[0])
		l.fresh = l.fresh[1:]
	}
}

// next takes the job whose turn it is; nil when none may begin.
func (q *queue) next() *entry {
	for len(q.again) > 0 {
		en := q.again[0]
		q.again = q.again[1:]
		if !en.gone.Load() {
			return en
		}
	}
	heads := q.heads()
	slices.SortFunc(heads, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.line.running, b.line.running), cmp.Compare(a.seq, b.seq))
	})
	reserved := slices.ContainsFunc(heads, waitedEnough)
	var passed []*entry
	for _, en := range heads {
		if reserved && !waitedEnough(en) && en.need != (Demand{}) {
			q.blocked(en, waitBigger)
			continue
		}
		if !q.fits(en) {
			q.noteWait(en)
			passed = append(passed, en)
			continue
		}
		for _, p := range passed {
			if en.need != (Demand{}) {
				p.passed++
			}
		}
		en.line.pop(en)
		return en
	}
	return nil
}

// heads are the jobs that would be next in their projects.
func (q *queue) heads() []*entry {
	var heads []*entry
	for name, l := range q.projects {
		if en := l.head(); en != nil {
			heads = append(heads, en)
		} else if len(l.fresh) > 0 { // as many builds of the project run as may
			q.blocked(l.fresh[0], waitTurn)
		} else if l.empty() {
			delete(q.projects, name)
		}
	}
	return heads
}

func waitedEnough(en *entry) bool { return en.passed >= patience }

// reserved says whether the machine is kept free for a job that is too big for now.
func (q *queue) reserved() bool { return slices.ContainsFunc(q.heads(), waitedEnough) }

func (q *queue) fits(en *entry) bool {
	sum := q.used.plus(en.need)
	return (en.need.CPUs == 0 || q.capacity.CPUs == 0 || sum.CPUs <= q.capacity.CPUs) &&
		(en.need.Memory == 0 || q.capacity.Memory == 0 || sum.Memory <= q.capacity.Memory)
}

// idle is how many runners wait while no job does.
func (q *queue) idle() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heads()) > 0 {
		return 0
	}
	return len(q.runners)
}

// room says whether a job that takes so much could begin now.
func (q *queue) room(need Demand) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fits(&entry{need: need.within(q.capacity)})
}

// head is the project's next job, nil when it has none that may begin.
func (l *line) head() *entry {
	l.begun = living(l.begun)
	l.fresh = living(l.fresh)
	if len(l.begun) > 0 {
		return l.begun[0]
	}
	if len(l.fresh) > 0 && !l.full(l.fresh[0]) {
		return l.fresh[0]
	}
	return nil
}

// full says whether the project has as many builds as it may have at once.
func (l *line) full(en *entry) bool { return en.limit > 0 && l.builds >= en.limit }

func (l *line) empty() bool {
	return len(l.begun) == 0 && len(l.fresh) == 0 && l.running == 0 && l.builds == 0
}

func (l *line) pop(en *entry) {
	if len(l.begun) > 0 && l.begun[0] == en {
		l.begun = l.begun[1:]
		return
	}
	l.fresh = l.fresh[1:]
}

// living drops what cannot run any more from the front.
func living(list []*entry) []*entry {
	for len(list) > 0 && list[0].gone.Load() {
		list = list[1:]
	}
	return list
}
