package show

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Look says how text is to look.
type Look struct {
	Terminal bool                // lines may be drawn anew: spinner
	Colour   bool                // escape sequences for colours
	Quiet    bool                // nothing before the summary
	Width    func() int          // columns; nil or 0 = no limit
	Now      func() time.Time    // nil = time.Now
	Hide     func(string) string // masks secrets in texts that are not output; nil = as they are
}

// Text shows a build as lines for people, plain or on a terminal.
type Text struct {
	w     io.Writer
	look  Look
	buf   bytes.Buffer // what one call writes goes out in one piece
	multi bool         // several jobs: each line says whose it is
	jobs  map[ci.JobID]*jobText
	order []ci.JobID
	cut   bool // the last line has no end yet
	spin  spinner
	err   error
}

// jobText is what is known of a job while it is shown.
type jobText struct {
	tag     string // "[name] "
	phase   ci.StepRun
	headed  bool // the phase's heading has been shown
	step    ci.StepRun
	since   time.Time // of the last sign of life of the step
	held    []byte    // the last line of an action, which its note may repeat
	partial []byte    // of a job's line, where lines of several jobs are mixed
	escape  bool      // the step printed an escape sequence: colours may be on
}

// NewText makes a screen of text.
func NewText(w io.Writer, l Look) *Text {
	if l.Width == nil {
		l.Width = func() int { return 0 }
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	if l.Hide == nil {
		l.Hide = func(s string) string { return s }
	}
	return &Text{w: w, look: l, jobs: map[ci.JobID]*jobText{}}
}

// Wants says no to everything when only the end is asked for.
func (t *Text) Wants(*ci.StepRun) bool { return !t.look.Quiet }

// Err is the first error of writing.
func (t *Text) Err() error { return t.err }

func (t *Text) job(id ci.JobID) *jobText {
	j := t.jobs[id]
	if j == nil {
		j = &jobText{}
		if t.multi {
			_, name, _ := strings.Cut(string(id), "/")
			j.tag = t.paint(tagColour(len(t.order)), "["+name+"]") + " "
		}
		t.jobs[id] = j
		t.order = append(t.order, id)
	}
	return j
}

// Event shows what an event means to a reader.
func (t *Text) Event(e ci.Event, b *ci.Build) {
	if t.look.Quiet {
		return
	}
	t.erase()
	switch e.Type {
	case ci.EventBuildStarted:
		t.begin(b)
	case ci.EventCancel:
		t.endLine()
		t.line("", t.paint(yellow, "Stopping: "+b.Cancel))
	case ci.EventJobStarted:
		if j := t.job(e.Job); t.multi {
			t.line(j.tag, t.paint(dim, "started"))
		}
	case ci.EventJobFinished:
		t.jobEnd(b.Job(e.Job))
	case ci.EventStepStarted, ci.EventStepFinished:
		if run := b.Job(e.Job); run != nil {
			if s := run.Step(e.Step); s != nil {
				t.step(t.job(e.Job), s, e.Type == ci.EventStepFinished)
			}
		}
	}
	t.flush()
}

func (t *Text) begin(b *ci.Build) {
	t.multi = b.Batch || (b.Plan != nil && len(b.Plan.Jobs) > 1)
	what := fmt.Sprintf("%s, build %d (%s), %s", b.Project, b.Number, b.ID, b.File)
	if b.Commit.Hash != "" {
		what += ", commit " + b.Commit.Hash[:min(12, len(b.Commit.Hash))]
		if b.Commit.Dirty {
			what += " with changes"
		}
	}
	t.line("", t.paint(bold, "sluice: ")+what)
	if b.Plan != nil {
		for _, p := range b.Plan.Warnings {
			t.line("", t.problem(p))
		}
	}
}

func (t *Text) jobEnd(run *ci.JobRun) {
	if run == nil || !t.multi {
		return
	}
	j := t.job(run.ID)
	t.finishPartial(j)
	text := verdict(run.Status)
	if !run.Started.IsZero() {
		text += " (" + Duration(run.Ended.Sub(run.Started)) + ")"
	}
	if run.Reason != "" {
		text += ": " + oneLine(t.look.Hide(run.Reason))
	}
	t.line(j.tag, t.paint(statusColour(run.Status), text))
}

func (t *Text) step(j *jobText, s *ci.StepRun, end bool) {
	if s.Kind == ci.KindPhase {
		t.phase(j, s, end)
		return
	}
	if end {
		t.stepEnd(j, s)
		return
	}
	t.head(j)
	j.step, j.since, j.held, j.escape = *s, t.look.Now(), nil, false
	if s.Kind == ci.KindCommand {
		t.command(j, s)
	}
}

func (t *Text) phase(j *jobText, s *ci.StepRun, end bool) {
	if !end {
		j.phase, j.headed = *s, false
		return
	}
	if !j.headed && s.Status.OK() {
		return
	}
	t.head(j)
	text := string(s.Phase) + " " + verdict(s.Status) + " (" + Duration(s.Ended.Sub(s.Started)) + ")"
	if !s.Status.OK() && len(s.Contexts) > 0 {
		text += ": " + oneLine(t.look.Hide(s.Contexts[0].Message))
	}
	t.line(j.tag, t.paint(dim, "== ")+t.paint(statusColour(s.Status), text))
}

// head shows the phase's heading before the first thing that happens in it.
func (t *Text) head(j *jobText) {
	if j.headed {
		return
	}
	j.headed = true
	t.line(j.tag, t.paint(dim, "== ")+t.paint(bold, string(j.phase.Phase)))
}

// shownLines is how much of a long script is repeated before it runs.
const shownLines = 12

func (t *Text) command(j *jobText, s *ci.StepRun) {
	lines := strings.Split(strings.TrimRight(t.look.Hide(s.Title), "\n"), "\n")
	more := 0
	if len(lines) > shownLines {
		more = len(lines) - shownLines
		lines = lines[:shownLines]
	}
	for i, l := range lines {
		mark := "$ "
		if i > 0 {
			mark = "> "
		}
		note := ""
		if i == 0 && s.Attempt > 1 {
			note = t.paint(dim, fmt.Sprintf("  (attempt %d)", s.Attempt))
		}
		t.line(j.tag, t.paint(cyan, mark)+t.paint(bold, printable(l))+note)
	}
	if more > 0 {
		t.line(j.tag, t.paint(dim, "> … "+plural(more, "more line")))
	}
}

func (t *Text) stepEnd(j *jobText, s *ci.StepRun) {
	t.finishPartial(j)
	took := " (" + Duration(s.Ended.Sub(s.Started)) + ")"
	mark := t.paint(dim, "-- ")
	switch {
	case s.Kind == ci.KindAction:
		t.actionEnd(j, s, mark, took)
	case s.Status.OK():
		t.line(j.tag, mark+t.paint(green, "ok")+t.paint(dim, took))
	default:
		why := verdict(s.Status)
		if s.Exit != nil && s.Exit.Code != 0 {
			why = exitText(s.Exit)
		}
		t.line(j.tag, mark+t.paint(red, why)+t.paint(dim, took+" "+place(s.Pos)))
	}
	j.step = ci.StepRun{}
}

func (t *Text) actionEnd(j *jobText, s *ci.StepRun, mark, took string) {
	note := oneLine(t.look.Hide(s.Note))
	held := string(j.held)
	if held != "" && s.Status.OK() && !strings.HasPrefix(held, "Found ") && (note == "" || !strings.Contains(held, s.Note)) {
		t.line(j.tag, "   "+printable(held))
	}
	j.held = nil
	text := s.Title
	if !s.Status.OK() {
		text += ": " + verdict(s.Status)
		if len(s.Contexts) > 0 {
			text += ": " + oneLine(t.look.Hide(s.Contexts[0].Message))
		}
		t.line(j.tag, mark+t.paint(red, text)+t.paint(dim, took))
		return
	}
	if note != "" {
		text += ": " + note
	}
	t.line(j.tag, mark+text+t.paint(dim, took))
}

// exitText says how a command ended.
func exitText(e *ci.Exit) string {
	text := fmt.Sprintf("exit status %d", e.Code)
	switch {
	case e.OOM:
		text += ", out of memory"
	case e.Signal != "":
		text += " (" + e.Signal + ")"
	}
	return text
}

// place is file:line, the form that terminals and editors can follow.
func place(p ci.Pos) string {
	p.Col = 0
	return p.String()
}

// Output shows what a step prints: of a command as it is, of an action as lines
// that are indented.
func (t *Text) Output(s *ci.StepRun, piece []byte) {
	t.erase()
	j := t.job(s.ID.Job())
	j.since = t.look.Now()
	switch {
	case s.Kind == ci.KindAction:
		t.lines(j, piece, t.actionLine)
	case t.multi:
		t.lines(j, piece, func(j *jobText, l []byte) {
			t.buf.WriteString(j.tag)
			t.buf.Write(l)
			t.resetColours(j, l)
			t.buf.WriteByte('\n')
		})
	default:
		j.escape = j.escape || bytes.IndexByte(piece, '\x1b') >= 0
		t.write(piece) // as it is, and without a copy: this is the path of a million lines
		t.cut = piece[len(piece)-1] != '\n'
	}
	t.flush()
}

// longest is the length at which a line of one job among several is broken, so
// that a program that never ends its line does not fill the memory.
const longest = 64 << 10

// lines calls f with each whole line and keeps the rest for later.
func (t *Text) lines(j *jobText, piece []byte, f func(*jobText, []byte)) {
	for len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			j.partial = append(j.partial, piece...)
			if len(j.partial) < longest {
				return
			}
			piece, end = nil, 0
		}
		line := piece[:end]
		if len(j.partial) > 0 {
			line = append(j.partial, line...)
			j.partial = j.partial[:0]
		}
		f(j, line)
		if piece != nil {
			piece = piece[end+1:]
		}
	}
}

// actionLine shows the lines of an action but for the last, which the action's
// note mostly repeats.
func (t *Text) actionLine(j *jobText, line []byte) {
	if len(j.held) > 0 {
		t.line(j.tag, "   "+printable(string(j.held)))
	}
	j.held = append(j.held[:0], line...)
}

func (t *Text) resetColours(j *jobText, line []byte) {
	if t.look.Colour && bytes.IndexByte(line, '\x1b') >= 0 {
		t.buf.WriteString(reset)
	}
}

// finishPartial ends what a job has begun to print.
func (t *Text) finishPartial(j *jobText) {
	if len(j.partial) > 0 {
		rest := j.partial
		j.partial = nil
		if j.step.Kind == ci.KindAction {
			t.actionLine(j, rest)
		} else {
			t.buf.WriteString(j.tag)
			t.buf.Write(rest)
			t.buf.WriteByte('\n')
		}
	}
	t.endLine()
	if j.escape && t.look.Terminal {
		t.buf.WriteString(reset)
	}
	j.escape = false
}

func (t *Text) endLine() {
	if t.cut {
		t.buf.WriteByte('\n')
		t.cut = false
	}
}

func (t *Text) line(tag, text string) {
	t.endLine()
	t.buf.WriteString(tag)
	t.buf.WriteString(text)
	t.buf.WriteByte('\n')
}

func (t *Text) flush() {
	if t.buf.Len() > 0 {
		rest := t.buf.Bytes()
		t.buf = bytes.Buffer{}
		t.write(rest)
		t.buf = *bytes.NewBuffer(rest[:0])
	}
}

// write writes past the buffer, after what is in it.
func (t *Text) write(p []byte) {
	if t.buf.Len() > 0 {
		_, err := t.w.Write(t.buf.Bytes())
		t.keep(err)
		t.buf.Reset()
	}
	_, err := t.w.Write(p)
	t.keep(err)
}

func (t *Text) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}
