package executortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// patience bounds one conformance test on a slow machine.
const patience = 2 * time.Minute

// Suite says how to reach an executor under test.
type Suite struct {
	// Open makes a new client of the same executor state, as a restarted sluice would.
	Open func(t testing.TB) ci.Executor
	// Placement asks for a sandbox with an ordinary POSIX shell.
	Placement func(ci.JobID) ci.Placement
	// Kill ends the sandbox's agent as a crash of its host would. Nil = cannot be done.
	Kill func(t testing.TB, job ci.JobID, box ci.Sandbox)
	// State is handed to the Client of RunClient in another process, which reaches
	// the same executor by it. "" = the test with a killed client is skipped.
	State string
	Features
}

// Features are what not every executor has on every machine. What is missing is
// skipped with the reason in Why.
type Features struct {
	User      string // a name in the sandbox's /etc/passwd for run-as; "" = cannot become another
	Bash      bool   // bash is in the sandbox
	Memory    bool   // Runtime.Memory is enforced
	Processes bool   // Runtime.Processes is enforced
	Usage     bool   // Sandbox.Usage measures
	Leaves    bool   // processes that left their session are ended also when the agent is killed
	Why       string // the reason for what is missing
}

// Run holds an executor to the contract of ci.Executor, on the real thing.
func Run(t *testing.T, s Suite) {
	t.Run("Steps", func(t *testing.T) { runSteps(t, s) })
	t.Run("Session", func(t *testing.T) { runSession(t, s) })
	t.Run("Output", func(t *testing.T) { runOutput(t, s) })
	t.Run("Stop", func(t *testing.T) { runStop(t, s) })
	t.Run("Files", func(t *testing.T) { runFiles(t, s) })
	t.Run("Open", func(t *testing.T) { runOpen(t, s) })
	t.Run("Racing", func(t *testing.T) { runRacing(t, s) })
	t.Run("Lost", func(t *testing.T) { runLost(t, s) })
	t.Run("ClientKilled", func(t *testing.T) { runClientKilled(t, s) })
	t.Run("NothingLeft", func(t *testing.T) { runNothingLeft(t, s) })
	t.Run("Sweep", func(t *testing.T) { runSweep(t, s) })
	t.Run("Memory", func(t *testing.T) { runMemory(t, s) })
	t.Run("ForkBomb", func(t *testing.T) { runForkBomb(t, s) })
}

// box is a sandbox with what tests do to it.
type box struct {
	ci.Sandbox
	t   *testing.T
	ctx context.Context
	job ci.JobID
	n   *atomic.Int64 // commands so far, of all that use the sandbox
}

// newJob names a job that no other test has.
func newJob(name string) ci.JobID { return ci.NewBuildID(time.Now()).Job(name, 1) }

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open opens a fresh sandbox that is closed after the test.
func (s Suite) open(t *testing.T, change ...func(*ci.Placement)) *box {
	t.Helper()
	job := newJob(strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()[strings.Index(t.Name(), "/")+1:])))
	p := s.Placement(job)
	for _, f := range change {
		f(&p)
	}
	ctx := limited(t)
	b, err := s.Open(t).Open(ctx, p)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &box{Sandbox: b, t: t, ctx: ctx, job: job, n: new(atomic.Int64)}
}

// again is the same sandbox as a new client finds it.
func (s Suite) again(t *testing.T, b *box) *box {
	t.Helper()
	found, err := s.Open(t).Open(b.ctx, s.Placement(b.job))
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	return &box{Sandbox: found, t: t, ctx: b.ctx, job: b.job, n: b.n}
}

func (b *box) on(t *testing.T) *box {
	c := *b
	c.t = t
	return &c
}

// start starts a command under an ID of its own, unless it has one.
func (b *box) start(c ci.Command) ci.Process {
	b.t.Helper()
	if c.ID == "" {
		c.ID = b.job.Step(fmt.Sprintf("%s/%d", strings.ReplaceAll(b.t.Name(), "/", "."), b.n.Add(1)))
	}
	p, err := b.Start(b.ctx, c)
	if err != nil {
		b.t.Fatalf("start: %v", err)
	}
	return p
}

func (b *box) wait(p ci.Process) ci.Exit {
	b.t.Helper()
	x, err := p.Wait(b.ctx)
	if err != nil {
		b.t.Fatalf("wait: %v", err)
	}
	return x
}

func (b *box) output(p ci.Process, from int64) []byte {
	b.t.Helper()
	r, err := p.Output(b.ctx, from)
	if err != nil {
		b.t.Fatalf("output: %v", err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatalf("output from %d: %v", from, err)
	}
	return data
}

// run runs a script to its end.
func (b *box) run(c ci.Command) (string, ci.Exit) {
	b.t.Helper()
	p := b.start(c)
	return string(b.output(p, 0)), b.wait(p)
}

// want runs a script and compares.
func (b *box) want(c ci.Command, output string, code int) {
	b.t.Helper()
	out, x := b.run(c)
	if out != output || x.Code != code {
		b.t.Errorf("%q:\n got %q, exit %d\nwant %q, exit %d", c.Script, clip(out), x.Code, clip(output), code)
	}
}

func clip(s string) string {
	if len(s) > 500 {
		return s[:500] + "…"
	}
	return s
}

// seen reads output until text is in it: how a test waits for a command to get
// somewhere.
func (b *box) seen(p ci.Process, text string) {
	b.t.Helper()
	r, err := p.Output(b.ctx, 0)
	if err != nil {
		b.t.Fatalf("output: %v", err)
	}
	defer func() { _ = r.Close() }()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil && !bytes.Contains(got, []byte(text)) {
			b.t.Fatalf("output ended without %q: %v: %q", text, err, got)
		}
	}
}

// Client makes a client of the executor with the given state, in a process that
// will be killed.
type Client func(state string) (ci.Executor, func(ci.JobID) ci.Placement, error)

const (
	envState  = "EXECUTORTEST_STATE"
	envJob    = "EXECUTORTEST_JOB"
	envScript = "EXECUTORTEST_SCRIPT"
)

// RunClient is called first thing in TestMain of a package that uses Run. In a
// process that Run has started it plays the client that gets killed, and does
// not return.
func RunClient(c Client) {
	state := os.Getenv(envState)
	if state == "" {
		return
	}
	if err := playClient(c, state); err != nil {
		fmt.Println("client:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func playClient(c Client, state string) error {
	ctx := context.Background()
	e, placement, err := c(state)
	if err != nil {
		return err
	}
	job := ci.JobID(os.Getenv(envJob))
	b, err := e.Open(ctx, placement(job))
	if err != nil {
		return err
	}
	p, err := b.Start(ctx, ci.Command{ID: job.Step("BUILD/0"), Script: os.Getenv(envScript)})
	if err != nil {
		return err
	}
	out, err := p.Output(ctx, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, out)
	return errors.Join(err, out.Close())
}
