package show

import (
	"fmt"
	"strings"
	"time"
)

// spinner is a line below the output that shows that work goes on. It is there
// only while nothing is printed.
type spinner struct {
	shown bool
	frame int
}

// patience is how long a step may be silent before the spinner says that it
// still runs.
const patience = 700 * time.Millisecond

var frames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// Tick draws the spinner anew where it has a place. It is to be called a few
// times a second, never beside another method.
func (t *Text) Tick() {
	if !t.look.Terminal || t.look.Quiet || t.cut {
		return
	}
	now := t.look.Now()
	var silent, running []*jobText
	for _, id := range t.order {
		j := t.jobs[id]
		if j.step.ID == "" {
			continue
		}
		running = append(running, j)
		if now.Sub(j.since) >= patience {
			silent = append(silent, j)
		}
	}
	if len(running) == 0 || len(silent) < len(running) {
		return
	}
	t.erase()
	text := frames[t.spin.frame%len(frames)] + " " + t.working(running, now)
	t.spin.frame++
	// One column stays free: a terminal that wraps in its last column would leave
	// the line behind.
	t.buf.WriteString(t.paint(dim, fit(text, t.look.Width()-1)))
	t.spin.shown = true
	t.flush()
}

func (t *Text) working(running []*jobText, now time.Time) string {
	if len(running) == 1 {
		s := &running[0].step
		title, _, _ := strings.Cut(t.look.Hide(s.Title), "\n")
		return fmt.Sprintf("%s %s %s", clock(now.Sub(s.Started)), s.Phase, title)
	}
	var parts []string
	for _, j := range running {
		_, name, _ := strings.Cut(string(j.step.ID.Job()), "/")
		parts = append(parts, name+" "+clock(now.Sub(j.step.Started)))
	}
	return fmt.Sprintf("%d running: %s", len(parts), strings.Join(parts, ", "))
}

func clock(d time.Duration) string {
	d = d.Truncate(time.Second)
	return fmt.Sprintf("%d:%02d", d/time.Minute, d%time.Minute/time.Second)
}

// erase takes the spinner away before anything else is written.
func (t *Text) erase() {
	if t.spin.shown {
		t.buf.WriteString("\r\x1b[K")
		t.spin.shown = false
	}
}

// Suspend takes the spinner away, for somebody who needs the terminal.
func (t *Text) Suspend() {
	t.erase()
	t.endLine()
	t.flush()
}
