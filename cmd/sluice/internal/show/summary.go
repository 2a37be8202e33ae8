package show

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Ending is what the summary needs beside the build.
type Ending struct {
	Build  *ci.Build
	Logs   Tailer
	Output string   // the output directory, as the reader can type it
	Notes  []string // what else there is to say, such as how to enter a kept sandbox
}

// Limits of what a summary repeats; the rest is in build.log and build.json.
const (
	lastLines   = 15
	shownTests  = 20
	messageRows = 4
	shownFiles  = 20
)

// Summary says how the build ended and what came of it: first what failed and
// why, last the verdict, where the reader's eye is.
func (t *Text) Summary(ctx context.Context, e Ending) {
	t.erase()
	t.endLine()
	b := e.Build
	if !t.look.Quiet || !b.Status.OK() {
		t.line("", "")
	}
	for _, p := range b.Problems {
		t.line("", t.problem(p))
	}
	for i := range b.Jobs {
		t.failure(ctx, &b.Jobs[i], e)
	}
	t.jobsTable(b)
	t.tests(b)
	t.coverage(b)
	t.artifacts(b, e.Output)
	t.caches(b)
	t.usage(b)
	t.times(b)
	for _, n := range e.Notes {
		t.line("", t.paint(yellow, n))
	}
	t.verdict(b, e.Output)
	t.flush()
}

// failure shows what of a job did not succeed.
func (t *Text) failure(ctx context.Context, run *ci.JobRun, e Ending) {
	if run.Status.OK() || run.Status == ci.Skipped {
		return
	}
	of := ""
	if t.multi {
		_, name, _ := strings.Cut(string(run.ID), "/")
		of = name + ": "
	}
	told := false
	for i := range run.Steps {
		s := &run.Steps[i]
		if s.Kind == ci.KindPhase || s.Status.OK() || retried(run, i) {
			continue
		}
		told = true
		t.failedStep(ctx, of, s, e)
	}
	if !told && run.Reason != "" {
		t.line("", t.paint(red, "✗ "+of)+oneLine(t.look.Hide(run.Reason)))
	}
}

// retried says whether the phase of a failed step was tried again.
func retried(run *ci.JobRun, i int) bool {
	s := &run.Steps[i]
	if s.Kind != ci.KindCommand || s.Finally {
		return false
	}
	for _, later := range run.Steps[i+1:] {
		if later.Kind == ci.KindCommand && later.Phase == s.Phase && later.Attempt > s.Attempt && !later.Finally {
			return true
		}
	}
	return false
}

func (t *Text) failedStep(ctx context.Context, of string, s *ci.StepRun, e Ending) {
	title, rest, long := strings.Cut(strings.TrimSpace(t.look.Hide(s.Title)), "\n")
	if long && rest != "" {
		title += " …"
	}
	t.line("", t.paint(red, "✗ "+of+string(s.Phase)+": ")+t.paint(bold, printable(title)))
	lines := tail(ctx, e.Logs, s.ID)
	why := verdict(s.Status)
	if s.Exit != nil && s.Exit.Code != 0 {
		why = exitText(s.Exit)
	}
	if !s.Status.Done() {
		why = "it was not seen to end"
	}
	message := ""
	if len(s.Contexts) > 0 {
		message = oneLine(t.look.Hide(s.Contexts[0].Message))
	}
	where := ""
	if s.Pos.Line > 0 {
		where = place(s.Pos) + ": "
	}
	if s.Kind == ci.KindAction && message != "" {
		why, message = message, ""
		if n := len(lines); n > 0 && string(lines[n-1]) == why {
			lines = lines[:n-1]
		}
	}
	t.line("", "  "+t.paint(bold, where)+t.paint(red, why))
	if message != "" && (s.Status != ci.Failed || (s.Exit != nil && s.Exit.OOM)) {
		t.line("", "  "+message)
	}
	for _, l := range lines {
		t.buf.WriteString("  " + t.paint(dim, "│ "))
		t.buf.Write(l)
		if t.look.Colour && bytes.IndexByte(l, '\x1b') >= 0 {
			t.buf.WriteString(reset)
		}
		t.buf.WriteByte('\n')
	}
}

// sizer is a log that can tell its size, so that its end is found without
// reading the rest.
type sizer interface {
	Size(step ci.StepID) (size int64, whole bool)
}

// tail is the last lines of a step that has ended.
func tail(ctx context.Context, logs Tailer, id ci.StepID) [][]byte {
	from := int64(0)
	const window = 16 << 10
	if s, ok := logs.(sizer); ok {
		size, whole := s.Size(id)
		if !whole {
			return nil
		}
		from = max(0, size-window)
	}
	r, err := logs.Tail(ctx, id, from)
	if err != nil {
		return nil
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, window))
	if err != nil {
		return nil
	}
	if from > 0 {
		if _, after, ok := bytes.Cut(text, []byte("\n")); ok {
			text = after
		}
	}
	text = bytes.TrimRight(text, "\n")
	if len(text) == 0 {
		return nil
	}
	lines := bytes.Split(text, []byte("\n"))
	lines = lines[max(0, len(lines)-lastLines):]
	for i, l := range lines {
		if cr := bytes.LastIndexByte(bytes.TrimRight(l, "\r"), '\r'); cr >= 0 {
			l = l[cr+1:] // of a line that was drawn over and over, what was seen last
		}
		lines[i] = bytes.TrimRight(l, "\r")
	}
	return lines
}

func (t *Text) jobsTable(b *ci.Build) {
	if !t.multi {
		return
	}
	wide := 0
	for i := range b.Jobs {
		wide = max(wide, utf8.RuneCountInString(b.Jobs[i].Name))
	}
	t.title("Jobs")
	for i := range b.Jobs {
		j := &b.Jobs[i]
		text := verdict(j.Status)
		if !j.Started.IsZero() {
			text += " " + Duration(j.Ended.Sub(j.Started))
		}
		if j.AllowFailure && !j.Status.OK() {
			text += " (allowed to fail)"
		}
		if j.Status == ci.Skipped || j.Status == ci.Canceled {
			text += ": " + oneLine(j.Reason)
		}
		t.line("", fmt.Sprintf("  %-*s  ", wide, j.Name)+t.paint(statusColour(j.Status), text))
	}
}

func (t *Text) title(name string) { t.line("", t.paint(bold, name)) }

// field is a line with its name in front, wrapped below itself.
func (t *Text) field(name, text string) {
	const indent = 11
	width := t.look.Width()
	prefix := t.paint(bold, name) + strings.Repeat(" ", max(1, indent-len(name)))
	for _, l := range wrap(text, width-indent) {
		t.line("", prefix+l)
		prefix = strings.Repeat(" ", indent)
	}
}

// wrap breaks a text between words so that lines are at most width columns, where
// the words allow it.
func wrap(text string, width int) []string {
	if width < 20 || columns(text) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && columns(line)+1+columns(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// columns counts characters, but none of our colours.
func columns(s string) int {
	n, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			n++
		}
	}
	return n
}

func (t *Text) artifacts(b *ci.Build, output string) {
	n := 0
	for i := range b.Jobs {
		for _, a := range b.Jobs[i].Artifacts {
			if n++; n == 1 {
				t.title("Artifacts")
			}
			if n > shownFiles {
				continue
			}
			t.line("", fmt.Sprintf("  %s  %s", join(output, a.Path), t.paint(dim, plural(a.Files, "file")+", "+Bytes(a.Size))))
		}
	}
	if n > shownFiles {
		t.line("", fmt.Sprintf("  … and %d more", n-shownFiles))
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

func (t *Text) caches(b *ci.Build) {
	var parts []string
	for i := range b.Jobs {
		for _, c := range b.Jobs[i].Cache {
			text := c.Action + " " + c.Result
			if c.Key != "" {
				text += " " + c.Key
			}
			if c.Size > 0 {
				text += " (" + Bytes(c.Size) + ")"
			}
			if c.Result == "corrupt" || c.Result == "failed" {
				text += ": " + oneLine(c.Reason)
			}
			if t.multi {
				text = b.Jobs[i].Name + " " + text
			}
			parts = append(parts, text)
		}
	}
	if len(parts) > 0 {
		t.field("Cache", strings.Join(parts, ", "))
	}
}

func (t *Text) usage(b *ci.Build) {
	var u ci.Usage
	for i := range b.Jobs {
		u.CPUSeconds += b.Jobs[i].Usage.CPUSeconds
		u.OOMKills += b.Jobs[i].Usage.OOMKills
		u.PeakMemory = max(u.PeakMemory, b.Jobs[i].Usage.PeakMemory)
	}
	var parts []string
	if u.PeakMemory > 0 {
		parts = append(parts, "memory "+Bytes(u.PeakMemory)+" at most")
	}
	if u.CPUSeconds > 0 {
		parts = append(parts, fmt.Sprintf("CPU %s", Duration(time.Duration(u.CPUSeconds*float64(time.Second)))))
	}
	if u.OOMKills > 0 {
		parts = append(parts, fmt.Sprintf("%d killed by the kernel at", u.OOMKills)+" the memory limit (raise it with --memory)")
	}
	if len(parts) > 0 {
		t.field("Used", strings.Join(parts, ", "))
	}
}

// times shows how long the phases took in which something was done.
func (t *Text) times(b *ci.Build) {
	if t.multi {
		return
	}
	var parts []string
	for i := range b.Jobs {
		busy := map[ci.Phase]bool{}
		for _, s := range b.Jobs[i].Steps {
			busy[s.Phase] = busy[s.Phase] || s.Kind != ci.KindPhase
		}
		for _, s := range b.Jobs[i].Steps {
			if s.Kind == ci.KindPhase && busy[s.Phase] && s.Status.Done() {
				parts = append(parts, string(s.Phase)+" "+Duration(s.Ended.Sub(s.Started)))
			}
		}
	}
	if len(parts) > 0 {
		t.field("Time", strings.Join(parts, ", "))
	}
}

func (t *Text) verdict(b *ci.Build, output string) {
	word := strings.ToUpper(verdict(b.Status))
	text := t.paint(bold, t.paint(statusColour(b.Status), word))
	if !b.Ended.IsZero() {
		text += " in " + Duration(b.Ended.Sub(b.Queued))
	}
	if b.Reason != "" && (b.Status != ci.Failed || len(b.Jobs) == 0) {
		text += ": " + oneLine(t.look.Hide(b.Reason))
	}
	t.line("", text)
	if output != "" {
		t.line("", t.paint(dim, "Record: "+join(output, "build.json")+"  Log: "+join(output, "build.log")))
	}
}
