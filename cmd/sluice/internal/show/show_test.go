package show

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/sluice-ci/sluice/internal/ci"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// story is a build told as events, with a clock of its own.
type story struct {
	now    time.Time
	build  ci.BuildID
	events []ci.Event
	logs   map[ci.StepID]string
	seen   ci.Build
}

func newStory(b ci.Build) *story {
	s := &story{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), build: "01build", logs: map[ci.StepID]string{}}
	b.ID, b.Number, b.Project, b.File, b.Queued, b.Status = s.build, 7, "app", "buildspec.yml", s.now, ci.Queued
	s.tell(ci.EventBuildQueued, b)
	b.Status, b.Started = ci.Running, s.now
	s.tell(ci.EventBuildStarted, b)
	return s
}

func (s *story) tell(t ci.EventType, data any) {
	e := ci.NewEvent(t, data)
	e.Seq, e.Time = int64(len(s.events)+1), s.now
	if err := s.seen.Apply(e); err != nil {
		panic(err)
	}
	s.events = append(s.events, e)
}

func (s *story) job(name string) *ci.JobRun {
	j := ci.JobRun{ID: s.build.Job(name, 1), Name: name, Status: ci.Queued, Queued: s.now}
	s.tell(ci.EventJobQueued, j)
	j.Status, j.Started = ci.Running, s.now
	s.tell(ci.EventJobStarted, j)
	return &j
}

func (s *story) step(j *ci.JobRun, kind ci.StepKind, phase ci.Phase, path, title string) *ci.StepRun {
	r := ci.StepRun{ID: j.ID.Step(path), Kind: kind, Phase: phase, Title: title, Status: ci.Running, Started: s.now}
	s.tell(ci.EventStepStarted, r)
	return &r
}

func (s *story) end(r *ci.StepRun, took time.Duration, code int, log string) {
	s.now = s.now.Add(took)
	r.Ended, r.Status = s.now, ci.Succeeded
	if code != 0 {
		r.Status = ci.Failed
		r.Contexts = []ci.PhaseContext{{Code: ci.CodeCommandFailed, Message: fmt.Sprintf("Error while executing command: %s. Reason: exit status %d", r.Title, code)}}
	}
	if r.Kind == ci.KindCommand {
		r.Exit = &ci.Exit{Code: code}
	}
	s.logs[r.ID] = log
	s.tell(ci.EventStepFinished, *r)
}

// failing is a build whose tests fail.
func failing() *story {
	s := newStory(ci.Build{Plan: &ci.Plan{Jobs: []ci.Job{{Name: "build"}}, Warnings: []ci.Problem{
		{Pos: ci.Pos{File: "buildspec.yml", Line: 2, Col: 1}, Severity: ci.Warning, Message: `unknown key "phasess": did you mean phases?`}}}})
	j := s.job("build")
	p := s.step(j, ci.KindPhase, ci.PhaseProvisioning, "PROVISIONING", "")
	a := s.step(j, ci.KindAction, ci.PhaseProvisioning, "PROVISIONING/sandbox", "Provision the environment")
	a.Note = "local; sandbox"
	s.end(a, 40*time.Millisecond, 0, "pulling layer 1\nlocal; sandbox\n")
	s.end(p, 0, 0, "")
	p = s.step(j, ci.KindPhase, ci.PhaseBuild, "BUILD", "")
	c := s.step(j, ci.KindCommand, ci.PhaseBuild, "BUILD/0", "npm ci")
	s.end(c, 1500*time.Millisecond, 0, "added 12 packages\n\x1b[32mgreen\x1b[0m and \x1b[1mbold")
	c = s.step(j, ci.KindCommand, ci.PhaseBuild, "BUILD/1", "npm run build -- --mode production --verbose\nnpm test\n")
	c.Pos = ci.Pos{File: "buildspec.yml", Line: 8, Col: 9}
	s.end(c, 75*time.Second, 3, "building\nTypeError: x is not a function\r\n")
	p.Title = "npm test"
	s.end(p, 0, 3, "")
	j.Status, j.Reason, j.Ended = ci.Failed, p.Contexts[0].Message, s.now
	j.Artifacts = []ci.Artifact{{Name: "app.zip", Path: "artifacts/app.zip", Format: "zip", Files: 3, Size: 1_234_567}}
	j.Cache = []ci.CacheUse{{Action: "restore", Key: "npm-1", Result: "hit", Size: 50_000}}
	j.Usage = ci.Usage{CPUSeconds: 12.5, PeakMemory: 300_000_000, OOMKills: 1}
	j.Reports = []ci.Report{
		{Group: "unit", Type: "TEST", Summary: ci.TestSummary{Total: 3, Succeeded: 2, Failed: 1}, Cases: []ci.TestCase{
			{Prefix: "math", Name: "adds", Status: ci.TestSucceeded},
			{Prefix: "math", Name: "divides by a number that is not zero", Status: ci.TestFailed, Duration: time.Second, Message: "expected 4\n  to be 5\nat line 1", File: "math.test.js", Line: 9},
		}},
		{Group: "cover", Type: "CODE_COVERAGE", Coverage: ci.Coverage{LinesCovered: 3, LinesMissed: 1, BranchesCovered: 1, BranchesMissed: 1}, Problems: []string{"lcov.info:3: not a number"}},
	}
	s.tell(ci.EventJobFinished, *j)
	b := s.seen
	b.Status, b.Reason, b.Ended, b.Jobs, b.Plan = ci.Failed, j.Reason, s.now, nil, nil
	s.tell(ci.EventBuildFinished, b)
	return s
}

// batch is two jobs side by side, one of them failed and one skipped.
func batch() *story {
	s := newStory(ci.Build{Batch: true, Plan: &ci.Plan{Jobs: []ci.Job{{Name: "one"}, {Name: "two"}}}})
	one, two := s.job("one"), s.job("two")
	for _, j := range []*ci.JobRun{one, two} {
		s.step(j, ci.KindPhase, ci.PhaseBuild, "BUILD", "")
	}
	c1 := s.step(one, ci.KindCommand, ci.PhaseBuild, "BUILD/0", "make one")
	s.end(c1, time.Second, 0, "first\nno end")
	c2 := s.step(two, ci.KindCommand, ci.PhaseBuild, "BUILD/0", "make two")
	s.end(c2, time.Second, 2, "second\n")
	one.Status, one.Ended = ci.Succeeded, s.now
	two.Status, two.Reason, two.Ended = ci.Failed, "exit status 2", s.now
	s.tell(ci.EventJobFinished, *one)
	s.tell(ci.EventJobFinished, *two)
	b := s.seen
	b.Status, b.Ended, b.Jobs, b.Plan = ci.Failed, s.now, nil, nil
	s.tell(ci.EventBuildFinished, b)
	return s
}

// Tail gives the logs of the story.
func (s *story) Tail(_ context.Context, id ci.StepID, from int64) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(s.logs[id][from:])), nil
}

// show plays the story step by step on a screen, as a feed would, in one order.
func (s *story) show(t *Text, clock *time.Time) {
	var b ci.Build
	for _, e := range s.events {
		*clock = e.Time
		if err := b.Apply(e); err != nil {
			panic(err)
		}
		t.Event(e, &b)
		if e.Type == ci.EventStepStarted {
			*clock = clock.Add(3 * time.Second) // long enough for the spinner
			t.Tick()
			t.Tick()
			step := b.Job(e.Job).Step(e.Step)
			if log := s.logs[e.Step]; log != "" && t.Wants(step) {
				half := len(log) / 2
				t.Output(step, []byte(log[:half]))
				t.Output(step, []byte(log[half:]))
			}
		}
	}
	t.Summary(context.Background(), Ending{Build: &b, Logs: s, Output: ".sluice", Notes: []string{"Sandbox kept. Enter it: sluice shell 01build/build"}})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*story{"failing": failing(), "batch": batch()} {
		var out bytes.Buffer
		var clock time.Time
		text := NewText(&out, Look{Now: func() time.Time { return clock }})
		s.show(text, &clock)
		ours := strings.NewReplacer("\x1b[32mgreen\x1b[0m and \x1b[1mbold", "", "\r", "").Replace(out.String())
		if strings.ContainsAny(ours, "\x1b\r") {
			t.Errorf("%s: control characters of our own: %q", name, ours)
		}
		golden(t, name+".plain.txt", out.String())
	}
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var clock time.Time
	s := failing()
	s.show(NewText(&out, Look{Quiet: true, Now: func() time.Time { return clock }}), &clock)
	if got := out.String(); strings.Contains(got, "== ") || !strings.Contains(got, "│ TypeError") || !strings.Contains(got, "FAILED") {
		t.Errorf("got:\n%s", got)
	}
}

// TestTerminal shows the stories on a real pseudo-terminal, and compares what is
// then to be seen on it.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{80, 40} {
		for name, s := range map[string]*story{"failing": failing(), "batch": batch()} {
			t.Run(fmt.Sprintf("%s.%d", name, width), func(t *testing.T) {
				t.Parallel()
				golden(t, fmt.Sprintf("%s.%d.txt", name, width), onTerminal(t, s, width))
			})
		}
	}
}

func onTerminal(t *testing.T, s *story, width int) string {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatalf("a pseudo-terminal is needed: %v", err)
	}
	defer master.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Cols: uint16(width), Rows: 50}); err != nil {
		t.Fatal(err)
	}
	read := make(chan []byte)
	go func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, master) // ends with EIO when the other side is closed
		read <- all.Bytes()
	}()
	var clock time.Time
	text := NewText(tty, Look{Terminal: true, Colour: true, Now: func() time.Time { return clock }, Width: func() int {
		_, cols, err := pty.Getsize(tty)
		if err != nil {
			t.Error(err)
		}
		return cols
	}})
	s.show(text, &clock)
	if err := text.Err(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	raw := <-read
	if !bytes.Contains(raw, []byte("⠋")) || !bytes.Contains(raw, []byte("\x1b[31m")) {
		t.Errorf("neither spinner nor colours: %q", raw)
	}
	return screenOf(string(raw), width)
}

// screenOf is what a terminal shows in the end: lines, wrapped at its width. It
// knows what Text uses: carriage return, erase to the end of the line, colours.
func screenOf(raw string, width int) string {
	lines := [][]rune{nil}
	col := 0
	for rs := []rune(raw); len(rs) > 0; {
		r := rs[0]
		rs = rs[1:]
		at := len(lines) - 1
		switch {
		case r == '\n':
			lines = append(lines, nil)
			col = 0
		case r == '\r':
			col = 0
		case r == '\x1b' && len(rs) > 0 && rs[0] == '[':
			end := 1
			for end < len(rs) && (rs[end] < '@' || rs[end] > '~') {
				end++
			}
			if rs[end] == 'K' {
				lines[at] = lines[at][:min(col, len(lines[at]))]
			}
			rs = rs[end+1:]
		default:
			if col == width {
				lines = append(lines, nil)
				at, col = at+1, 0
			}
			for len(lines[at]) <= col {
				lines[at] = append(lines[at], ' ')
			}
			lines[at][col] = r
			col++
		}
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func TestColours(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env      map[string]string
		terminal bool
		want     bool
	}{
		{map[string]string{"TERM": "xterm"}, true, true},
		{map[string]string{"TERM": "xterm"}, false, false},
		{map[string]string{"TERM": "dumb"}, true, false},
		{nil, true, false},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, true, false},
		{map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true, true},
		{map[string]string{"CLICOLOR_FORCE": "1"}, false, true},
		{map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false, false},
		{map[string]string{"TERM": "xterm", "CLICOLOR": "0"}, true, false},
	} {
		got := Colours(c.terminal, func(n string) (string, bool) { v, ok := c.env[n]; return v, ok })
		if got != c.want {
			t.Errorf("%v, terminal %t: got %t, want %t", c.env, c.terminal, got, c.want)
		}
	}
}

// TestFeedKeepsOrder feeds events that are far ahead of the output: each piece
// must still come between the start and the end of its step, whole and once.
func TestFeedKeepsOrder(t *testing.T) {
	t.Parallel()
	s := failing()
	rec := &recorder{}
	f := &Feed{Screen: rec, Logs: s}
	err := f.Run(context.Background(), func(_ context.Context, show func(ci.Event) bool) error {
		for _, e := range s.events {
			show(e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, e := range s.events {
		want += fmt.Sprintf("%s %s\n", e.Type, e.Step)
		if log := s.logs[e.Step]; e.Type == ci.EventStepStarted && log != "" {
			want += log + "|\n"
		}
	}
	if got := rec.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

type recorder struct{ bytes.Buffer }

func (r *recorder) Event(e ci.Event, _ *ci.Build)  { fmt.Fprintf(r, "%s %s\n", e.Type, e.Step) }
func (r *recorder) Output(_ *ci.StepRun, p []byte) { fmt.Fprintf(r, "%s|\n", p) }
func (r *recorder) Wants(*ci.StepRun) bool         { return true }

// endless is a log that never ends, as that of a step that broke.
type endless struct{ *story }

func (e endless) Tail(ctx context.Context, _ ci.StepID, _ int64) (io.ReadCloser, error) {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) })
	return r, nil
}

// TestFeedLeavesLostLog: a step that broke may have no log; nobody waits for it.
func TestFeedLeavesLostLog(t *testing.T) {
	t.Parallel()
	s := newStory(ci.Build{Plan: &ci.Plan{Jobs: []ci.Job{{Name: "build"}}}})
	j := s.job("build")
	c := s.step(j, ci.KindCommand, ci.PhaseBuild, "BUILD/0", "make")
	c.Status, c.Ended = ci.Errored, s.now
	s.tell(ci.EventStepFinished, *c)
	rec := &recorder{}
	f := &Feed{Screen: rec, Logs: endless{s}}
	err := f.Run(context.Background(), func(_ context.Context, show func(ci.Event) bool) error {
		for _, e := range s.events {
			show(e)
		}
		return nil
	})
	if err != nil || !strings.Contains(rec.String(), "step_finished") {
		t.Errorf("err %v, got:\n%s", err, rec.String())
	}
}

// TestJSONKeepsCharacters cuts output at every byte: no character may be torn.
func TestJSONKeepsCharacters(t *testing.T) {
	t.Parallel()
	const text = "grüße, 世界 🙂!"
	for at := range len(text) {
		var out bytes.Buffer
		j := NewJSON(&out, time.Now)
		step := &ci.StepRun{ID: "b/j/BUILD/0", Kind: ci.KindCommand}
		j.Output(step, []byte(text[:at]))
		j.Output(step, []byte(text[at:]))
		if bytes.Contains(out.Bytes(), []byte("\ufffd")) || strings.Contains(out.String(), `\ufffd`) {
			t.Errorf("cut at %d: %s", at, out.String())
		}
	}
	var out bytes.Buffer
	j := NewJSON(&out, time.Now)
	step := &ci.StepRun{ID: "b/j/BUILD/0", Kind: ci.KindCommand, Status: ci.Succeeded}
	j.Output(step, []byte("end \xe4\xb8"))
	j.Event(ci.NewEvent(ci.EventStepFinished, *step), nil)
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("a torn end is %d lines, want text, rest and event:\n%s", n, out.String())
	}
}

func TestWriteError(t *testing.T) {
	t.Parallel()
	var clock time.Time
	text := NewText(broken{}, Look{Now: func() time.Time { return clock }})
	failing().show(text, &clock)
	if text.Err() == nil {
		t.Error("a screen that cannot be written to says nothing")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0.00s", 0: "0.00s", 1234 * time.Millisecond: "1.23s", 12*time.Second + 340*time.Millisecond: "12.3s",
		65 * time.Second: "1m05s", 3*time.Hour + 7*time.Minute: "3h07m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_234_567: "1.2 MB", 999_960: "1.0 MB", 5e9: "5.0 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for _, c := range [][2]string{{fit("a\x1b[2Jb\nc", 0), "a[2Jb c"}, {fit("abcdef", 4), "abc…"}, {fit("abc", 1), "…"}} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

func BenchmarkMillionLines(b *testing.B) {
	piece := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 1300)
	step := &ci.StepRun{ID: "b/j/BUILD/0", Kind: ci.KindCommand}
	for _, multi := range []bool{false, true} {
		b.Run(fmt.Sprintf("multi=%t", multi), func(b *testing.B) {
			t := NewText(io.Discard, Look{})
			t.multi = multi
			b.SetBytes(int64(len(piece)))
			for b.Loop() {
				t.Output(step, piece)
			}
		})
	}
}
