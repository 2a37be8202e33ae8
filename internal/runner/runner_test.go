package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
	"github.com/sluice-ci/sluice/internal/runner"
)

const (
	provisioned = "PROVISIONING succeeded\nDOWNLOAD_SOURCE succeeded\n"
	finalized   = "FINALIZING succeeded\nCOMPLETED succeeded\n"
)

// The transition table of codebuild.md 1.5.4, and what on-failure changes in it.
func TestPhaseTransitions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec   string
		status ci.Status
		want   string // between provisioning and finalizing
	}{
		"all well": {
			spec:   "{install: {commands: ['true']}, pre_build: {commands: ['true']}, build: {commands: ['true', 'true']}, post_build: {commands: ['true']}}",
			status: ci.Succeeded,
			want: "INSTALL succeeded\nINSTALL/0 succeeded\nPRE_BUILD succeeded\nPRE_BUILD/0 succeeded\nBUILD succeeded\nBUILD/0 succeeded\nBUILD/1 succeeded\n" +
				"POST_BUILD succeeded\nPOST_BUILD/0 succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
		"install fails": {
			spec:   "{install: {commands: ['false'], finally: ['echo end']}, build: {commands: ['true']}}",
			status: ci.Failed,
			want:   "INSTALL failed\nINSTALL/0 failed\nINSTALL/finally-0 succeeded\n",
		},
		"pre_build fails": {
			spec:   "{pre_build: {commands: ['false', 'true']}, build: {commands: ['true']}}",
			status: ci.Failed,
			want:   "INSTALL succeeded\nPRE_BUILD failed\nPRE_BUILD/0 failed\n",
		},
		"build fails, post_build still runs": {
			spec:   "{build: {commands: ['true', 'exit 3', 'true']}, post_build: {commands: ['true']}}",
			status: ci.Failed,
			want:   "INSTALL succeeded\nPRE_BUILD succeeded\nBUILD failed\nBUILD/0 succeeded\nBUILD/1 failed\nPOST_BUILD succeeded\nPOST_BUILD/0 succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
		"a failing finally fails the phase and stops the later ones": {
			spec:   "{build: {commands: ['true'], finally: ['false', 'true']}}",
			status: ci.Failed,
			want:   "INSTALL succeeded\nPRE_BUILD succeeded\nBUILD failed\nBUILD/0 succeeded\nBUILD/finally-0 failed\nPOST_BUILD succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
		"abort in build goes straight to the end": {
			spec:   "{build: {on-failure: ABORT, commands: ['false']}, post_build: {commands: ['true']}}",
			status: ci.Failed,
			want:   "INSTALL succeeded\nPRE_BUILD succeeded\nBUILD failed\nBUILD/0 failed\n",
		},
		"continue in install goes on, and the build has failed": {
			spec:   "{install: {on-failure: CONTINUE, commands: ['false']}, build: {commands: ['true']}}",
			status: ci.Failed,
			want:   "INSTALL failed\nINSTALL/0 failed\nPRE_BUILD succeeded\nBUILD succeeded\nBUILD/0 succeeded\nPOST_BUILD succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
		"retry as often as it may": {
			spec:   "{build: {on-failure: RETRY-2, commands: ['false'], finally: ['true']}}",
			status: ci.Failed,
			want: "INSTALL succeeded\nPRE_BUILD succeeded\nBUILD failed\nBUILD/0 failed\nBUILD~2/0 failed\nBUILD~3/0 failed\nBUILD/finally-0 succeeded\n" +
				"POST_BUILD succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
		"retry only what the output says": {
			spec:   "{build: {on-failure: 'RETRY-5-.*timed out.*', commands: ['echo refused; exit 1']}}",
			status: ci.Failed,
			want:   "INSTALL succeeded\nPRE_BUILD succeeded\nBUILD failed\nBUILD/0 failed\nPOST_BUILD succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
		"retry matches the message": {
			spec:   "{build: {on-failure: 'RETRY-1-exit status 9', commands: ['exit 9']}}",
			status: ci.Failed,
			want:   "INSTALL succeeded\nPRE_BUILD succeeded\nBUILD failed\nBUILD/0 failed\nBUILD~2/0 failed\nPOST_BUILD succeeded\nUPLOAD_ARTIFACTS succeeded\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "phases: "+c.spec+"\n")
			b, _ := w.run()
			if want := provisioned + c.want + finalized; b.Status != c.status || phases(b) != want {
				t.Errorf("got %s (%s):\n%swant %s:\n%s", b.Status, b.Reason, phases(b), c.status, want)
			}
			if jobs := w.script.Jobs(); len(jobs) != 0 {
				t.Errorf("sandboxes left behind: %v", jobs)
			}
		})
	}
}

func TestARetryThatSucceedsSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {on-failure: 'RETRY-3-flaky', commands: ['echo flaky; exit 1']}, post_build: {commands: ['echo ok=$CODEBUILD_BUILD_SUCCEEDING']}}\n")
	w.script.Answer = func(c ci.Command) (string, int, bool) {
		return "", 0, strings.Contains(string(c.ID), "BUILD~3/")
	}
	b, p := w.run()
	if b.Status != ci.Succeeded {
		t.Errorf("got %s: %s\n%s", b.Status, b.Reason, phases(b))
	}
	if got := w.log(p, "b/build/POST_BUILD/0"); got != "ok=1\n" {
		t.Errorf("post_build sees %q, want that the build is succeeding", got)
	}
}

func TestWhatCommandsSeeOfTheBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
env:
  variables: {WHERE: definition, ONLY: here, LITERAL: '$PATH:/x'}
phases:
  build:
    commands:
      - echo $WHERE $ONLY $LITERAL $CODEBUILD_BUILD_ID $CODEBUILD_BUILD_NUMBER $CODEBUILD_INITIATOR $CODEBUILD_BUILD_SUCCEEDING
      - exit 4
    finally:
      - echo $CODEBUILD_BUILD_SUCCEEDING $CODEBUILD_LAST_EXIT
  post_build:
    commands:
      - echo $CODEBUILD_BUILD_SUCCEEDING $CODEBUILD_LAST_EXIT
`)
	b, p := w.run(func(r *engine.Request) {
		r.Variables = []ci.Variable{{Name: "WHERE", Value: "override"}}
	})
	for id, want := range map[ci.StepID]string{
		"b/build/BUILD/0":         "override here $PATH:/x proj:b 7 tester 1\n",
		"b/build/BUILD/finally-0": "0 4\n",
		"b/build/POST_BUILD/0":    "0 0\n",
	} {
		if got := w.log(p, id); got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
	if want := "Error while executing command: exit 4. Reason: exit status 4"; b.Reason != want {
		t.Errorf("got reason %q, want %q", b.Reason, want)
	}
}

// vault knows one secret.
type vault struct{}

func (vault) Lookup(_ context.Context, kind ci.VariableKind, ref string) (string, error) {
	if kind == ci.ParameterStore && ref == "/app/password" {
		return "hunter2hunter2", nil
	}
	return "", errors.New("parameter " + ref + " does not exist: " + ci.ErrNotFound.Error())
}

func TestSecretsAreLookedUpMaskedAndNeverStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
env:
  parameter-store: {PASSWORD: /app/password}
  exported-variables: [PASSWORD, TELL]
phases:
  build:
    commands:
      - echo the password is $PASSWORD
      - export TELL=x$PASSWORD
      - write junit.xml '<testsuite name="'$PASSWORD'"><testcase classname="'$PASSWORD'" name="'$PASSWORD'"><failure>'$PASSWORD'</failure></testcase></testsuite>'
  post_build:
    commands: [write broken.xml '<testsuite></'$PASSWORD'>']
reports: {unit: {files: [junit.xml]}, $PASSWORD: {files: [broken.xml]}}
`)
	w.secret = vault{}
	b, p := w.run()
	if r := b.Jobs[0].Reports; len(r) != 2 || len(r[0].Cases) != 1 || r[0].Cases[0].Name != "***" || len(r[1].Problems) == 0 {
		t.Errorf("got reports %+v", r)
	}
	if got := w.log(p, "b/build/BUILD/0"); got != "the password is ***\n" {
		t.Errorf("got log %q", got)
	}
	if b.Status != ci.Succeeded || len(b.Jobs[0].Exports) != 2 || b.Jobs[0].Exports[1].Value != "x***" {
		t.Errorf("got %s (%s), exports %v", b.Status, b.Reason, b.Jobs[0].Exports)
	}
	for _, dir := range []string{"journal", "logs"} {
		_ = filepath.WalkDir(filepath.Join(w.dir, dir), func(path string, d os.DirEntry, _ error) error {
			if text, _ := os.ReadFile(path); strings.Contains(string(text), "hunter2hunter2") {
				t.Errorf("the secret is in %s", path)
			}
			return nil
		})
	}
}

func TestASecretThatIsNotThereFailsTheDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "env: {parameter-store: {A: /no/such, B: /neither}}\nphases: {build: {commands: ['true']}}\n")
	w.secret = vault{}
	b, _ := w.run()
	if b.Status != ci.Failed || !strings.Contains(b.Reason, "/no/such") || !strings.Contains(b.Reason, "/neither") {
		t.Errorf("got %s: %s; want failed, naming both", b.Status, b.Reason)
	}
	if want := "PROVISIONING succeeded\nDOWNLOAD_SOURCE failed\n" + finalized; phases(b) != want {
		t.Errorf("got\n%swant\n%s", phases(b), want)
	}
}

func TestArtifactsAndReports(t *testing.T) {
	t.Parallel()
	for _, packaging := range []string{runner.Folder, runner.Zip} {
		w := newWorld(t, `
phases:
  build:
    commands:
      - write dist/app one
      - write dist/sub/lib two
      - write other/note three
      - write junit.xml '<testsuite name="s"><testcase name="good"/><testcase name="bad"><failure message="no"/></testcase></testsuite>'
      - VERSION=1.5
artifacts:
  name: app-$VERSION
  base-directory: dist
  files: ['**/*']
  secondary-artifacts:
    notes: {files: ['other/*'], discard-paths: yes}
reports:
  unit: {files: [junit.xml]}
`)
		w.config = func(c *runner.Config) { c.Packaging = packaging }
		b, _ := w.run()
		j := b.Jobs[0]
		if b.Status != ci.Succeeded || len(j.Artifacts) != 2 {
			t.Fatalf("%s: got %s (%s), artifacts %+v", packaging, b.Status, b.Reason, j.Artifacts)
		}
		for i, want := range []ci.Artifact{{Name: "app-1.5", Files: 2}, {ID: "notes", Name: "notes", Files: 1}} {
			got := j.Artifacts[i]
			if got.Name != want.Name || got.ID != want.ID || got.Files != want.Files || len(got.SHA256) != 64 {
				t.Errorf("%s: got %+v, want %+v", packaging, got, want)
			}
			if _, err := os.Stat(filepath.Join(w.output("build"), got.Path)); err != nil {
				t.Errorf("%s: %v", packaging, err)
			}
		}
		if packaging == runner.Folder {
			if text, err := os.ReadFile(filepath.Join(w.output("build"), "artifacts/app-1.5/sub/lib")); err != nil || string(text) != "two\n" {
				t.Errorf("got %q, %v", text, err)
			}
		}
		if r := j.Reports; len(r) != 1 || r[0].Summary.Total != 2 || r[0].Summary.Failed != 1 || r[0].Status != "FAILED" {
			t.Errorf("%s: got reports %+v", packaging, r)
		}
	}
}

// What the build was started with counts before what the runner has.
func TestABuildsOwnPackaging(t *testing.T) {
	t.Parallel()
	for _, own := range []string{runner.Folder, runner.Zip} {
		w := newWorld(t, "phases: {build: {commands: ['write a one']}}\nartifacts: {files: [a]}\n")
		w.config = func(c *runner.Config) { c.Packaging = runner.Zip }
		b, _ := w.run(func(r *engine.Request) { r.Packaging = own })
		if got := b.Jobs[0].Artifacts[0].Format; got != own {
			t.Errorf("got %s, want %s", got, own)
		}
	}
}

func TestAZIPIsTheSameToTheByteTwice(t *testing.T) {
	t.Parallel()
	sums := map[string]bool{}
	for range 2 {
		w := newWorld(t, "phases: {build: {commands: ['write b/x one', 'write a two']}}\nartifacts: {files: ['**/*']}\n")
		w.config = func(c *runner.Config) { c.Packaging = runner.Zip }
		b, _ := w.run()
		sums[b.Jobs[0].Artifacts[0].SHA256] = true
	}
	if len(sums) != 1 {
		t.Errorf("two builds of the same files made different ZIPs: %v", sums)
	}
}

func TestNothingMatchedFailsTheUpload(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"artifacts: {files: ['nothing/*']}":                              "no matching artifact paths found",
		"artifacts: {base-directory: nowhere, files: ['**/*']}":          "no matching base directory path found",
		"artifacts: {name: ../../out, files: ['**/*']}":                  "does not name a place below",
		"artifacts: {name: '$(echo', files: ['**/*']}\nenv: {shell: sh}": "",
	} {
		w := newWorld(t, "phases: {build: {commands: ['true']}}\n"+spec+"\n")
		b, _ := w.run()
		if want == "" {
			continue // whatever the shell makes of it, it must end
		}
		if b.Status != ci.Failed || !strings.Contains(b.Reason, want) {
			t.Errorf("%s: got %s: %s; want failed: %s", spec, b.Status, b.Reason, want)
		}
	}
}

func TestCaches(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
phases: {build: {commands: ['cat deps/lib', 'write deps/lib fetched']}}
cache: {key: 'k-$LOCK', fallback-keys: ['k-'], paths: ['deps/**/*']}
`)
	use := func(lock string, n int) string {
		b, _ := w.run(func(r *engine.Request) {
			r.ID = ci.BuildID("b")
			r.Variables = []ci.Variable{{Name: "LOCK", Value: lock}}
		})
		var got []string
		for _, u := range b.Jobs[0].Cache {
			got = append(got, u.Result)
		}
		if err := os.RemoveAll(filepath.Join(w.dir, "journal")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(w.dir, "logs")); err != nil {
			t.Fatal(err)
		}
		w.script = executortest.NewScript(filepath.Join(w.dir, "sandboxes"+lock+string(rune('0'+n))))
		return strings.Join(got, " ")
	}
	// The first build finds nothing, and its command fails: nothing is saved.
	if got := use("a", 1); got != "miss skipped" {
		t.Errorf("first: got %q", got)
	}
	w.file("buildspec.yml", "version: 0.2\nphases: {build: {commands: ['write deps/lib fetched']}}\ncache: {key: 'k-$LOCK', fallback-keys: ['k-'], paths: ['deps/**/*']}\n")
	for i, c := range []struct{ lock, want string }{{"a", "miss saved"}, {"a", "hit exists"}, {"b", "fallback saved"}, {"b", "hit exists"}} {
		if got := use(c.lock, i+2); got != c.want {
			t.Errorf("build %d with %s: got %q, want %q", i, c.lock, got, c.want)
		}
	}
}

// A key that comes to nothing would be the same for all builds, and paths that
// match nothing are no reason to lose what was kept.
func TestCachesThatAreNotChanged(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"phases: {build: {commands: ['write deps/lib x']}}\ncache: {key: $NONE, paths: ['deps/**/*']}\n": "miss skipped",
		"phases: {build: {commands: ['true']}}\ncache: {paths: ['deps/**/*']}\n":                         "hit skipped",
	} {
		w := newWorld(t, "phases: {build: {commands: ['write deps/lib fetched']}}\ncache: {paths: ['deps/**/*']}\n")
		w.run()
		for range 2 {
			again := newWorld(t, spec)
			if err := os.Rename(filepath.Join(w.dir, "cache"), filepath.Join(again.dir, "cache")); err != nil {
				t.Fatal(err)
			}
			// What a build restores it would save again.
			again.script.Answer = func(c ci.Command) (string, int, bool) {
				_ = filepath.WalkDir(filepath.Join(again.dir, "sandboxes"), func(path string, _ os.DirEntry, _ error) error {
					if filepath.Base(path) == "deps" && c.Script == "true" {
						_ = os.RemoveAll(path)
					}
					return nil
				})
				return "", 0, false
			}
			b, _ := again.run()
			if c := b.Jobs[0].Cache; len(c) != 2 || c[0].Result+" "+c[1].Result != want {
				t.Errorf("%s: got %+v, want %s", spec, c, want)
			}
			w = again
		}
	}
}

func TestACorruptCacheIsAMiss(t *testing.T) {
	t.Parallel()
	spec := "phases: {build: {commands: ['write deps/lib fetched']}}\ncache: {paths: ['deps/**/*']}\n"
	w := newWorld(t, spec)
	if b, _ := w.run(); b.Status != ci.Succeeded {
		t.Fatalf("got %s: %s", b.Status, b.Reason)
	}
	_ = filepath.WalkDir(filepath.Join(w.dir, "cache"), func(path string, d os.DirEntry, _ error) error {
		if text, err := os.ReadFile(path); err == nil && len(text) > 20 {
			text[len(text)/2] ^= 0xff
			_ = os.WriteFile(path, text, 0o600)
		}
		return nil
	})
	again := newWorld(t, spec)
	if err := os.Rename(filepath.Join(w.dir, "cache"), filepath.Join(again.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	b, _ := again.run()
	if c := b.Jobs[0].Cache; b.Status != ci.Succeeded || len(c) != 2 || c[0].Result != "corrupt" || c[1].Result != "saved" {
		t.Errorf("got %s (%s), cache %+v", b.Status, b.Reason, c)
	}
}

func TestTimeoutAndCancelEndTheJobAndItsSandbox(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout time.Duration
		want    ci.Status
	}{"timeout": {time.Millisecond, ci.TimedOut}, "cancel": {0, ci.Canceled}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "phases: {build: {commands: ['echo before; hang'], finally: ['true']}, post_build: {commands: ['true']}}\nartifacts: {files: ['**/*']}\n")
			p := w.process(t.Context(), 0, false)
			r := w.request()
			r.Limits.Timeout = c.timeout
			if c.timeout == 0 {
				w.file("buildspec.yml", "version: 0.2\nphases: {build: {commands: ['echo before; wait here']}}\n")
			}
			if _, err := p.engine.Start(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if c.timeout == 0 {
				<-w.script.Reached("here")
				if err := p.engine.Cancel(t.Context(), "b", ci.ErrCanceled); err != nil {
					t.Fatal(err)
				}
			}
			b := w.wait(p)
			if b.Status != c.want || b.Reason == "" {
				t.Errorf("got %s: %q, want %s", b.Status, b.Reason, c.want)
			}
			if strings.Contains(phases(b), "POST_BUILD") || strings.Contains(phases(b), "UPLOAD") || !strings.HasSuffix(phases(b), finalized) {
				t.Errorf("got phases\n%s", phases(b))
			}
			if jobs := w.script.Jobs(); len(jobs) != 0 {
				t.Errorf("sandboxes left behind: %v", jobs)
			}
		})
	}
}

func TestASandboxLostInTheMiddleIsAFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['echo so far; lose']}, post_build: {commands: ['true']}}\n")
	b, p := w.run()
	if b.Status != ci.Errored || strings.Contains(phases(b), "POST_BUILD") {
		t.Errorf("got %s: %s\n%s", b.Status, b.Reason, phases(b))
	}
	if got := w.log(p, "b/build/BUILD/0"); got != "so far\n" {
		t.Errorf("the log so far is %q", got)
	}
}

func TestOutOfMemoryIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "phases: {build: {commands: ['oom']}}\n")
	b, _ := w.run()
	if b.Status != ci.Failed || !strings.Contains(b.Reason, "out of memory") {
		t.Errorf("got %s: %s", b.Status, b.Reason)
	}
}

func TestABatchRunsItsGraph(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
phases: {build: {commands: ['echo $CODEBUILD_BATCH_BUILD_IDENTIFIER']}}
batch:
  build-graph:
    - identifier: one
    - identifier: two
      depend-on: [one]
`)
	w.config = func(c *runner.Config) { c.Slots = 3 }
	b, p := w.run(func(r *engine.Request) { r.Batch = true })
	if b.Status != ci.Succeeded || len(b.Jobs) != 2 || b.Jobs[1].Started.Before(b.Jobs[0].Ended) {
		t.Errorf("got %s: %s\n%s", b.Status, b.Reason, phases(b))
	}
	if got := w.log(p, "b/two/BUILD/0"); got != "two\n" {
		t.Errorf("got %q", got)
	}
}

// What a batch says of one of its builds is said to that build alone, and stands
// over what all of them were started with.
func TestABatchsOwnVariablesWin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
env: {variables: {A: file, B: file}}
phases: {build: {commands: ['echo $A $B']}}
batch:
  build-matrix: {dynamic: {env: {variables: {A: [one, two]}}}}
`)
	b, p := w.run(func(r *engine.Request) {
		r.Batch = true
		r.Variables = []ci.Variable{{Name: "A", Value: "start"}, {Name: "B", Value: "start"}}
	})
	if b.Status != ci.Succeeded || len(b.Jobs) != 2 {
		t.Fatalf("got %s: %s", b.Status, b.Reason)
	}
	for i, want := range []string{"one start\n", "two start\n"} {
		if got := w.log(p, b.Jobs[i].ID.Step("BUILD/0")); got != want {
			t.Errorf("%s: got %q, want %q", b.Jobs[i].Name, got, want)
		}
	}
}
