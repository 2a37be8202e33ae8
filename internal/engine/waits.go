package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Waits says in a sentence why a build of this process has not begun, and how
// many are before it. "" = it has begun, or is not known here.
func (e *Engine) Waits(id ci.BuildID) string {
	b, err := e.build(id)
	if err != nil {
		return ""
	}
	b.mu.Lock()
	status := b.rec.Status
	var offered []*entry
	for _, en := range b.offered {
		if b.rec.Job(en.job).Started.IsZero() {
			offered = append(offered, en)
		}
	}
	begun := len(b.claimed) > 0
	b.mu.Unlock()
	switch {
	case begun || status.Done():
		return ""
	case status == ci.Queued:
		return "waiting for its source and definition to be read"
	case len(offered) == 0:
		return ""
	}
	first := slices.MinFunc(offered, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	return e.queue.why(first)
}

// why says what a ready job waits for.
func (q *queue) why(en *entry) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken[en.job] != nil {
		return ""
	}
	place := fmt.Sprintf(" (place %d)", q.before(en)+1)
	if _, begun := q.builds[en.job.Build()]; !begun && en.line.full(en) {
		return fmt.Sprintf("waiting for its turn: %s runs at most %s at once%s", en.line.project, count(en.limit, "build"), place)
	}
	if en.need != (Demand{}) && !waitedEnough(en) && q.reserved() {
		return "waiting for a bigger job that is before it" + place
	}
	sum := q.used.plus(en.need)
	switch {
	case en.need.Memory > 0 && q.capacity.Memory > 0 && sum.Memory > q.capacity.Memory:
		return fmt.Sprintf("waiting for memory: %s of %s in use by %s%s", gib(q.used.Memory), gib(q.capacity.Memory),
			q.users(func(d Demand) float64 { return float64(d.Memory) }), place)
	case en.need.CPUs > 0 && q.capacity.CPUs > 0 && sum.CPUs > q.capacity.CPUs:
		return fmt.Sprintf("waiting for processors: %s of %s in use by %s%s", number(q.used.CPUs), number(q.capacity.CPUs),
			q.users(func(d Demand) float64 { return d.CPUs }), place)
	}
	return "waiting for a free runner: " + count(len(q.taken), "job") + " running" + place
}

// before counts the ready jobs that are older.
func (q *queue) before(en *entry) int {
	n := 0
	for _, l := range q.projects {
		for _, list := range [][]*entry{l.begun, l.fresh} {
			for _, o := range list {
				if o.seq < en.seq && !o.gone.Load() {
					n++
				}
			}
		}
	}
	return n
}

// users names who has most of something.
func (q *queue) users(of func(Demand) float64) string {
	by := map[string]float64{}
	for _, en := range q.taken {
		if n := of(en.need); n > 0 {
			by[en.title] += n
		}
	}
	names := make([]string, 0, len(by))
	for name := range by {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b)) })
	const shown = 3
	if len(names) > shown {
		names = append(names[:shown], fmt.Sprintf("%d more", len(names)-shown))
	}
	return strings.Join(names, ", ")
}

func gib(n int64) string {
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
