package runner_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
	"github.com/sluice-ci/sluice/internal/runner"
)

const whole = `
env:
  parameter-store: {PASSWORD: /app/password}
  exported-variables: [VERSION]
phases:
  install: {commands: ['echo installing', 'VERSION=1.5']}
  build:
    on-failure: RETRY-1
    commands: ['echo one $PASSWORD', 'printf "a\nb\n"', flaky, 'write dist/app built', 'write junit.xml <testsuite><testcase/></testsuite>']
    finally: ['echo finally']
  post_build: {commands: ['echo $VERSION $CODEBUILD_BUILD_SUCCEEDING $CODEBUILD_LAST_EXIT']}
artifacts: {files: ['dist/*'], name: 'app-$VERSION'}
reports: {unit: {files: [junit.xml]}}
cache: {paths: ['dist/**/*']}
`

// broken is a build in which much goes wrong.
const broken = `
env: {exported-variables: [NONE], parameter-store: {PASSWORD: /app/password}}
phases:
  build: {commands: ['write a.xml <broken', 'echo $PASSWORD; exit 5', 'true']}
  post_build: {on-failure: CONTINUE, commands: ['echo $CODEBUILD_BUILD_SUCCEEDING; false'], finally: ['false']}
artifacts: {files: ['nothing/*'], secondary-artifacts: {more: {files: [a.xml]}}}
reports: {unit: {files: [a.xml]}, none: {files: [b.xml]}}
cache: {key: k, paths: ['nothing/*']}
`

// What is left of a build when times and paths of this run are taken away.
func (w *world) outcome(b ci.Build, p *process) string {
	w.t.Helper()
	b.Metered = 0
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	out := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`).ReplaceAllString(string(text), `"TIME"`)
	out = strings.ReplaceAll(out, w.dir, "DIR")
	// A cache holds the times of its files, which compress differently each time.
	out = regexp.MustCompile(`save saved, \d+ B|"result": "saved",\s+"size": \d+`).ReplaceAllString(out, "SAVED")
	var logs []string
	for _, j := range b.Jobs {
		for _, s := range j.Steps {
			if s.Kind == ci.KindCommand {
				logs = append(logs, fmt.Sprintf("%s:\n%s", s.ID, w.log(p, s.ID)))
			}
		}
	}
	sort.Strings(logs)
	var files []string
	for _, kept := range []string{"blobs", "cache"} {
		blobs, err := blob.OpenDir(filepath.Join(w.dir, kept))
		if err == nil {
			err = blobs.List(w.t.Context(), "", func(b ci.Blob) error {
				if kept == "cache" {
					b.SHA256 = "" // see above
				}
				files = append(files, kept+": "+b.Key+" "+b.SHA256)
				return nil
			})
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	_ = filepath.WalkDir(filepath.Join(w.dir, "out"), func(path string, d os.DirEntry, _ error) error {
		if d != nil && !d.IsDir() {
			content, _ := os.ReadFile(path)
			files = append(files, strings.TrimPrefix(path, w.dir)+"="+string(content))
		}
		return nil
	})
	return out + "\n" + strings.Join(logs, "\n") + strings.Join(files, "\n")
}

func (w *world) mustEndWhole(p *process, name, want string) {
	w.t.Helper()
	b := w.wait(p)
	if got := w.outcome(b, p); got != want {
		w.t.Errorf("%s: the build did not end as an undisturbed one does:\n%s", name, difference(got, want))
	}
	if jobs := w.script.Jobs(); len(jobs) != 0 {
		w.t.Errorf("%s: sandboxes left behind: %v", name, jobs)
	}
}

// difference shows the first lines that differ.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			from, to := max(i-3, 0), i+3
			return "got  " + strings.Join(g[from:min(to, len(g))], "\n") + "\nwant " + strings.Join(w[from:min(to, len(w))], "\n")
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

func crashWorld(t *testing.T, spec string) *world {
	t.Helper()
	w := newWorld(t, spec)
	w.secret = vault{}
	w.script.Answer = func(c ci.Command) (string, int, bool) {
		if c.Script != "flaky" {
			return "", 0, false
		}
		if strings.Contains(string(c.ID), "~2/") {
			return "better\n", 0, true
		}
		return "flaky\n", 1, true
	}
	return w
}

// delays are how long an engine may keep the events of steps to itself: not at
// all, or until it must store them. A killed process takes those with it.
var delays = []time.Duration{0, time.Hour}

// specs are the builds that are killed, and how they end when they are not.
func specs() map[string]ci.Status {
	return map[string]ci.Status{whole: ci.Succeeded, broken: ci.Failed}
}

// Killed at any write, before it or just after it, and started again, a build
// ends as if nothing had been: the same record, logs and files, no command run twice.
func TestKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	for spec, status := range specs() {
		reference := crashWorld(t, spec)
		b, p := reference.run()
		if b.Status != status {
			t.Fatalf("undisturbed: %s: %s", b.Status, b.Reason)
		}
		want, writes := reference.outcome(b, p), p.store.n
		if writes < 30 {
			t.Fatalf("only %d writes in a whole build; is the wrapper in place?", writes)
		}
		for n := 1; n <= writes; n++ {
			for _, after := range []bool{false, true} {
				killedAtWrite(t, crashWorld(t, spec), want, n, after)
			}
		}
		w := crashWorld(t, spec)
		w.delay = time.Hour
		b, p = w.run()
		if got := w.outcome(b, p); got != want {
			t.Fatalf("with steps stored late the build differs:\n%s", difference(got, want))
		}
		if p.store.n > 10 {
			t.Errorf("%d writes: steps are not stored together", p.store.n)
		}
		for n := 1; n <= p.store.n; n++ {
			for _, after := range []bool{false, true} {
				w := crashWorld(t, spec)
				w.delay = time.Hour
				killedAtWrite(t, w, want, n, after)
			}
		}
	}
}

// The same with the store and the blobs of a server.
func TestKilledAtEveryWriteOfADatabase(t *testing.T) {
	t.Parallel()
	reference := crashWorld(t, whole)
	reference.sqlite = true
	b, p := reference.run()
	want, writes := reference.outcome(b, p), p.store.n
	for _, kept := range []string{"blobs: builds/b/build/artifacts/app-1.5/dist/app ", "cache: proj/"} {
		if !strings.Contains(want, kept) || strings.Contains(want, "/out/build/artifacts") {
			t.Fatalf("what is kept of a build is not in the blobs:\n%s", want)
		}
	}
	for n := 1; n <= writes; n++ {
		for _, after := range []bool{false, true} {
			w := crashWorld(t, whole)
			w.sqlite = true
			killedAtWrite(t, w, want, n, after)
		}
	}
}

func killedAtWrite(t *testing.T, w *world, want string, n int, after bool) {
	t.Helper()
	name := fmt.Sprintf("write %d, after=%v", n, after)
	first := w.process(t.Context(), n, after)
	if _, err := first.engine.Start(t.Context(), w.request()); err != nil {
		first.stop()
	}
	if err := <-first.done; err != nil {
		t.Fatalf("%s: a stopped runner says %v", name, err)
	}
	second := w.process(t.Context(), 0, false)
	if n == 1 && !after {
		// Nothing was stored: whoever asked was told so, and asks again.
		if _, err := second.engine.Start(t.Context(), w.request()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	w.mustEndWhole(second, name, want)
}

// The same for being killed around every call to the executor.
func TestKilledAtEveryExecutorCall(t *testing.T) {
	t.Parallel()
	for spec := range specs() {
		reference := crashWorld(t, spec)
		b, p := reference.run()
		want, calls := reference.outcome(b, p), reference.script.Calls()
		if len(calls) < 20 {
			t.Fatalf("only %d calls in a whole build", len(calls))
		}
		for n := 2; n <= len(calls); n++ { // the first is the sweep of the process's start
			for _, after := range []bool{false, true} {
				for _, delay := range delays {
					w := crashWorld(t, spec)
					w.delay = delay
					killedAtCall(t, w, want, fmt.Sprintf("call %d (%s), after=%v, delay %s", n, calls[n-1], after, delay), n, after)
				}
			}
		}
	}
}

func killedAtCall(t *testing.T, w *world, want, name string, n int, after bool) {
	t.Helper()
	var first *process
	ready := make(chan struct{})
	fault := func(c executortest.Call) error {
		if c.N != n {
			return nil
		}
		<-ready
		first.store.at = 1 << 30
		first.store.kill()
		return errKilled
	}
	if after {
		w.script.After = fault
	} else {
		w.script.Before = fault
	}
	first = w.process(t.Context(), 0, false)
	close(ready)
	if _, err := first.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := <-first.done; err != nil {
		t.Fatalf("%s: a stopped runner says %v", name, err)
	}
	w.mustEndWhole(w.process(t.Context(), 0, false), name, want)
}

// A process that is stopped in the middle of a command leaves it running; the
// next one finds it, and its log is whole.
func TestStoppedInTheMiddleOfACommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['echo before; wait here; echo after']}}\n")
	first := w.process(t.Context(), 0, false)
	if _, err := first.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatal(err)
	}
	<-w.script.Reached("here")
	first.stop()
	if err := <-first.done; err != nil {
		t.Fatal(err)
	}
	second := w.process(t.Context(), 0, false)
	w.script.Release("here")
	b := w.wait(second)
	if got := w.log(second, "b/build/BUILD/0"); b.Status != ci.Succeeded || got != "before\nafter\n" {
		t.Errorf("got %s (%s) with the log %q", b.Status, b.Reason, got)
	}
}

// When the sandbox is gone as well, the job is lost and says so: it is not run a
// second time in silence.
func TestALostSandboxIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['wait here']}}\n")
	first := w.process(t.Context(), 0, false)
	if _, err := first.engine.Start(t.Context(), w.request()); err != nil {
		t.Fatal(err)
	}
	<-w.script.Reached("here")
	first.stop()
	<-first.done
	w.script.Lose("b/build")
	b := w.wait(w.process(t.Context(), 0, false))
	if b.Status != ci.Errored || !strings.Contains(b.Reason, "lost") {
		t.Errorf("got %s: %s", b.Status, b.Reason)
	}
}

// An artifact that fails half way leaves nothing behind.
func TestAnArtifactThatFailsLeavesNoBlobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['write dist/a 1', 'write dist/b 2']}}\nartifacts: {files: ['dist/*']}\n")
	blobs, err := blob.OpenDir(filepath.Join(w.dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	w.config = func(c *runner.Config) { c.Blobs = &fullBlobs{Blobs: blobs, room: 1} }
	b, _ := w.run()
	if b.Status == ci.Succeeded || len(b.Jobs[0].Artifacts) != 0 || !strings.Contains(phases(b), "UPLOAD_ARTIFACTS failed") && !strings.Contains(phases(b), "UPLOAD_ARTIFACTS errored") {
		t.Errorf("got %s with %v:\n%s", b.Status, b.Jobs[0].Artifacts, phases(b))
	}
	err = blobs.List(t.Context(), "", func(b ci.Blob) error {
		t.Errorf("%s is left", b.Key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fullBlobs takes only so many.
type fullBlobs struct {
	ci.Blobs
	room int
}

func (b *fullBlobs) Put(ctx context.Context, key string, r io.Reader) (ci.Blob, error) {
	if b.room--; b.room < 0 {
		return ci.Blob{}, fmt.Errorf("put %s: the disk is full: %w", key, ci.ErrUnavailable)
	}
	return b.Blobs.Put(ctx, key, r)
}
