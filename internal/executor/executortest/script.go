package executortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/fileset"
)

// Script is an executor whose commands are played and not run: their text is in
// the small language of play.go (echo, exit, wait, lose, …). Files are real, in a
// folder, so that Put and Get are those of a real sandbox.
//
// It outlives those who use it: a test that "kills" an engine gives the next one
// the same Script and finds the same sandboxes, with their steps still running.
type Script struct {
	// Before is asked at the start of every call, and After when it has done its
	// work; an error is what the caller gets. With ErrLose the sandbox is lost at that
	// moment. Nil = no faults. Set them before the first call.
	Before func(Call) error
	After  func(Call) error

	// Answer may play a command in the place of the language; ok = it did.
	Answer func(c ci.Command) (output string, code int, ok bool)

	dir       string
	mu        sync.Mutex
	calls     []Call
	sandboxes map[ci.JobID]*fake
	gates     map[string]*gate
	made      int
}

// Call is one call of an Executor, Sandbox or Process.
type Call struct {
	N    int    // counts from 1 over all calls
	Op   string // open sweep start put get usage close output wait stop
	Job  ci.JobID
	Step ci.StepID
}

// String is the call in words: "start b/j/BUILD/0".
func (c Call) String() string {
	if c.Step != "" {
		return c.Op + " " + string(c.Step)
	}
	return c.Op + " " + string(c.Job)
}

// ErrLose, as the answer of Before or After, loses the sandbox.
var ErrLose = errors.New("the sandbox is lost")

// NewScript makes one that keeps files below dir.
func NewScript(dir string) *Script {
	return &Script{dir: dir, sandboxes: map[ci.JobID]*fake{}, gates: map[string]*gate{}}
}

// FailAt makes a Before or After that fails the n-th call of all.
func FailAt(n int, err error) func(Call) error {
	return func(c Call) error {
		if c.N == n {
			return err
		}
		return nil
	}
}

// FailOp makes a Before or After that fails every call of an operation.
func FailOp(op string, err error) func(Call) error {
	return func(c Call) error {
		if c.Op == op {
			return err
		}
		return nil
	}
}

// Calls lists what was called so far.
func (s *Script) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Jobs lists the jobs that have a sandbox, sorted.
func (s *Script) Jobs() []ci.JobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ci.JobID
	for id := range s.sandboxes {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Lose loses the sandbox of a job, as when its host is switched off.
func (s *Script) Lose(job ci.JobID) {
	s.mu.Lock()
	f := s.sandboxes[job]
	delete(s.sandboxes, job)
	s.mu.Unlock()
	if f != nil {
		f.lose()
	}
}

// gate is a place where commands wait for the test.
type gate struct {
	reached, released chan struct{}
	once, open        sync.Once
}

func (s *Script) gate(name string) *gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gates[name]
	if g == nil {
		g = &gate{reached: make(chan struct{}), released: make(chan struct{})}
		s.gates[name] = g
	}
	return g
}

// Reached is closed when a command has come to `wait name`.
func (s *Script) Reached(name string) <-chan struct{} { return s.gate(name).reached }

// Release lets all commands pass `wait name`, those that come later too.
func (s *Script) Release(name string) {
	g := s.gate(name)
	g.open.Do(func() { close(g.released) })
}

// call notes a call, asks for faults around it, and does it.
func (s *Script) call(ctx context.Context, op string, job ci.JobID, step ci.StepID, do func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	c := Call{N: len(s.calls) + 1, Op: op, Job: job, Step: step}
	s.calls = append(s.calls, c)
	s.mu.Unlock()
	if err := s.fault(s.Before, c); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return s.fault(s.After, c)
}

func (s *Script) fault(ask func(Call) error, c Call) error {
	if ask == nil {
		return nil
	}
	err := ask(c)
	if errors.Is(err, ErrLose) {
		s.Lose(c.Job)
		return fmt.Errorf("%s: %w: %w", c, err, ci.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// Name is "script".
func (s *Script) Name() string { return "script" }

// Open finds or makes. An image "fail:TEXT" cannot be opened.
func (s *Script) Open(ctx context.Context, p ci.Placement) (ci.Sandbox, error) {
	var box *view
	err := s.call(ctx, "open", p.Job, "", func() error {
		if why, ok := strings.CutPrefix(p.Runtime.Image, "fail:"); ok {
			return fmt.Errorf("open: %s: %w", why, ci.ErrUnavailable)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if f := s.sandboxes[p.Job]; f != nil {
			box = &view{fake: f}
			return nil
		}
		f, err := s.make(p)
		if err != nil {
			return err
		}
		s.sandboxes[p.Job] = f
		box = &view{fake: f, fresh: true}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return box, nil
}

func (s *Script) make(p ci.Placement) (*fake, error) {
	s.made++
	dir := filepath.Join(s.dir, fmt.Sprintf("sandbox-%d", s.made))
	f := &fake{
		script: s, job: p.Job, lost: make(chan struct{}),
		dirs:   ci.Dirs{Source: dir + "/src", Home: dir + "/home", Temp: dir + "/tmp"},
		placed: ci.Placed{Executor: "script", Image: p.Runtime.Image, Isolation: "none: nothing runs", CPUs: p.Runtime.CPUs, Memory: p.Runtime.Memory},
		steps:  map[ci.StepID]*played{}, vars: map[string]map[string]string{},
	}
	for _, d := range []string{f.dirs.Source, f.dirs.Home, f.dirs.Temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make a sandbox: %w", err)
		}
	}
	return f, nil
}

// Sweep removes the sandboxes of jobs that are not live.
func (s *Script) Sweep(ctx context.Context, live func(ci.JobID) bool) error {
	return s.call(ctx, "sweep", "", "", func() error {
		for _, job := range s.Jobs() {
			if !live(job) {
				s.Lose(job)
			}
		}
		return nil
	})
}

// fake is one sandbox.
type fake struct {
	script *Script
	job    ci.JobID
	dirs   ci.Dirs
	placed ci.Placed
	lost   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	steps map[ci.StepID]*played
	vars  map[string]map[string]string // of sessions
	usage ci.Usage
}

func (f *fake) lose() { f.once.Do(func() { close(f.lost) }) }

func (f *fake) gone() error {
	select {
	case <-f.lost:
		return fmt.Errorf("sandbox of %s is gone: %w", f.job, ci.ErrUnavailable)
	default:
		return nil
	}
}

// view is a fake as one Open gave it.
type view struct {
	*fake
	fresh bool
}

// Fresh says that this Open made it.
func (v *view) Fresh() bool { return v.fresh }

// Placed says where this is.
func (v *view) Placed() ci.Placed { return v.placed }

// Dirs are real directories.
func (v *view) Dirs() ci.Dirs { return v.dirs }

// Start plays the command unless its ID was seen before.
func (v *view) Start(ctx context.Context, c ci.Command) (ci.Process, error) {
	var p *played
	err := v.script.call(ctx, "start", v.job, c.ID, func() error {
		if err := v.gone(); err != nil {
			return err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if p = v.steps[c.ID]; p != nil {
			return nil
		}
		p = newPlayed(v.fake, c)
		v.steps[c.ID] = p
		go p.play() // ends with the command; Stop and lose see to it
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Put is fileset.Unpack.
func (v *view) Put(ctx context.Context, dir string, tar io.Reader) error {
	return v.script.call(ctx, "put", v.job, "", func() error {
		return errors.Join(v.gone(), fileset.Unpack(ctx, dir, tar, fileset.Limits{}))
	})
}

// Get is fileset.Pack.
func (v *view) Get(ctx context.Context, set ci.FileSet, tar io.Writer) (m ci.Matched, err error) {
	err = v.script.call(ctx, "get", v.job, "", func() error {
		if err := v.gone(); err != nil {
			return err
		}
		m, err = fileset.Pack(ctx, fileset.ExpandHome(set, v.dirs.Home), tar)
		return err
	})
	return m, err
}

// Usage is what `use` statements added up to.
func (v *view) Usage(ctx context.Context) (u ci.Usage, err error) {
	err = v.script.call(ctx, "usage", v.job, "", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		u = v.usage
		return v.gone()
	})
	return u, err
}

// Close ends all commands. The files stay for the test to look at.
func (v *view) Close(ctx context.Context) error {
	return v.script.call(ctx, "close", v.job, "", func() error {
		v.script.mu.Lock()
		if v.script.sandboxes[v.job] == v.fake {
			delete(v.script.sandboxes, v.job)
		}
		v.script.mu.Unlock()
		v.lose()
		return nil
	})
}

// Output replays and follows.
func (p *played) Output(ctx context.Context, from int64) (io.ReadCloser, error) {
	err := p.box.script.call(ctx, "output", p.box.job, p.cmd.ID, p.box.gone)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &playedOutput{p: p, ctx: ctx, cancel: cancel, off: from}, nil
}

// Wait gives the result, or ErrUnavailable when the sandbox was lost before.
func (p *played) Wait(ctx context.Context) (x ci.Exit, err error) {
	err = p.box.script.call(ctx, "wait", p.box.job, p.cmd.ID, func() error {
		select {
		case <-p.done:
			x = p.exit
			return p.box.gone()
		case <-p.box.lost:
			return p.box.gone()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return x, err
}

// Stop ends the command at once, or after grace when it ignores SIGTERM.
func (p *played) Stop(ctx context.Context, grace time.Duration) error {
	return p.box.script.call(ctx, "stop", p.box.job, p.cmd.ID, func() error {
		p.stopping(grace)
		select {
		case <-p.done:
		case <-p.box.lost:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	})
}
