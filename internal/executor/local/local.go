package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/fileset"
)

// Isolation levels of ci.Runtime.Isolation. The empty string is Sandboxed.
const (
	Plain     = "none"    // a process group; no isolation at all
	Sandboxed = "sandbox" // namespaces, a root of its own, seccomp
	GVisor    = "gvisor"  // a kernel of its own in user space (runsc)
)

// Config of an Executor.
type Config struct {
	Root string // folder for the sandboxes' state, made if missing
	Exe  string // the sluice binary, which becomes the agent; "" = this process's

	// Env is where the host's environment is read from; nil = os.Environ().
	Env []string
	// Tools are names to link to Exe on the PATH of every sandbox.
	Tools []string
	// Runsc is the gVisor binary; "" = looked up on PATH when asked for.
	Runsc string
	// Processes is the limit of processes for a job that names none; 0 = DefaultProcesses.
	Processes int64
}

// DefaultProcesses stops a fork bomb long before it stops the machine.
const DefaultProcesses = 4096

// Executor makes sandboxes on this machine. It is a ci.Executor.
type Executor struct {
	cfg  Config
	host *host

	groups func() (*hierarchy, error) // the machine's cgroups, read once
	spread func() error               // once: the sandboxes in the state folder are trees of their own

	spares spares

	separate bool // an overlay for each folder, as where the host's root cannot be one
}

// New gives an executor with its state below c.Root. It touches nothing yet.
func New(c Config) *Executor {
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.Processes == 0 {
		c.Processes = DefaultProcesses
	}
	if abs, err := filepath.Abs(c.Root); err == nil {
		c.Root = abs
	}
	return &Executor{
		cfg:    c,
		host:   newHost(c.Env),
		groups: sync.OnceValues(findHierarchy),
		spread: sync.OnceValue(func() error { return fileset.Spread(c.Root) }),
	}
}

// Name is "local".
func (e *Executor) Name() string { return "local" }

// Open finds the job's sandbox or makes it; see ci.Executor.
func (e *Executor) Open(ctx context.Context, p ci.Placement) (ci.Sandbox, error) {
	s, err := e.open(ctx, p)
	if err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			err = fmt.Errorf("%w; free some space below %s, or choose another state folder: %w", err, e.cfg.Root, ci.ErrUnavailable)
		}
		return nil, fmt.Errorf("open a local sandbox for %s: %w", p.Job, err)
	}
	return s, nil
}

func (e *Executor) open(ctx context.Context, p ci.Placement) (*Sandbox, error) {
	if err := check(&p.Runtime); err != nil {
		return nil, err
	}
	if err := e.root(); err != nil {
		return nil, err
	}
	f := folderOf(e.cfg.Root, p.Job)
	unlock, err := f.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := e.find(ctx, f)
	if s != nil || err != nil {
		return s, err
	}
	if err := e.destroy(ctx, f); err != nil {
		return nil, fmt.Errorf("remove what is left of a lost sandbox: %w", err)
	}
	if s, err = e.ahead(ctx, f, p); s != nil {
		return s, err
	}
	s, err = e.make(ctx, f, p)
	if err != nil {
		clean := context.WithoutCancel(ctx)
		if left := e.destroy(clean, f); left != nil {
			err = fmt.Errorf("%w (and its remains could not be removed: %w)", err, left)
		}
		return nil, err
	}
	return s, nil
}

// root makes the state folder.
func (e *Executor) root() error {
	err := os.MkdirAll(e.cfg.Root, 0o700)
	if err == nil {
		err = e.spread()
	}
	if err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	return nil
}

// check refuses what this executor cannot give, and fills in defaults.
func check(r *ci.Runtime) error {
	switch r.Isolation {
	case "":
		r.Isolation = Sandboxed
	case Plain, Sandboxed, GVisor:
	default:
		return fmt.Errorf("isolation %q: want %s, %s or %s: %w", r.Isolation, Plain, Sandboxed, GVisor, ci.ErrInvalid)
	}
	switch r.Network {
	case "":
		r.Network = "host"
	case "host", "none":
	default:
		return fmt.Errorf("network %q: want host or none: %w", r.Network, ci.ErrInvalid)
	}
	switch {
	case r.Isolation == Plain && r.Network == "none":
		return fmt.Errorf("network none needs a sandbox: choose isolation %s or %s: %w", Sandboxed, GVisor, ci.ErrInvalid)
	case r.Dockerfile != "":
		return fmt.Errorf("an image from %s needs the docker executor: %w", r.Dockerfile, ci.ErrInvalid)
	case r.CPUs < 0 || r.Memory < 0 || r.Processes < 0:
		return fmt.Errorf("limits must not be negative: %w", ci.ErrInvalid)
	}
	return nil
}

// find is the living sandbox of a folder, nil when there is none. The caller
// holds the lock.
func (e *Executor) find(ctx context.Context, f folder) (*Sandbox, error) {
	rec, err := f.read()
	if err != nil || !rec.Ready || !rec.Process.alive() {
		return nil, nil //nolint:nilerr // an unreadable record is that of a half-made sandbox
	}
	s := e.sandbox(f, rec, nil)
	if err := s.Ping(ctx); err != nil {
		if !rec.Process.alive() {
			return nil, nil
		}
		// It lives, so its steps may: to call it lost would be worse than to wait.
		return nil, fmt.Errorf("the sandbox's agent (process %d) lives but does not answer: %w", rec.Process.PID, err)
	}
	return s, nil
}

// Sweep removes the sandboxes of jobs that are not live, also half-made ones;
// see ci.Executor. One that is being opened or closed right now is left to who does.
func (e *Executor) Sweep(ctx context.Context, live func(ci.JobID) bool) error {
	entries, err := os.ReadDir(e.cfg.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep local sandboxes: %w", err)
	}
	var all error
	for _, d := range entries {
		if name, isLock := strings.CutSuffix(d.Name(), ".lock"); isLock && d.Type().IsRegular() {
			all = errors.Join(all, folder{root: e.cfg.Root, name: name}.removeStaleLock())
			continue
		}
		if strings.HasPrefix(d.Name(), ".") || !(d.IsDir() || d.Type() == os.ModeSymlink) {
			continue
		}
		f := folder{root: e.cfg.Root, name: d.Name()}
		if err := e.sweep(ctx, f, live); err != nil {
			all = errors.Join(all, fmt.Errorf("sweep local sandbox %s: %w", f.path(), err))
		}
	}
	return all
}

// sweep removes one folder, or the link to one that was made ahead, with that
// one. A folder that a link leads to is the link's to sweep.
func (e *Executor) sweep(ctx context.Context, f folder, live func(ci.JobID) bool) error {
	if rec, err := f.read(); err == nil {
		if live(rec.Job) {
			return nil
		}
		if own := folderOf(f.root, rec.Job); own.name != f.name && own.leadsTo(f) {
			return nil
		}
	}
	unlock, ok, err := f.tryLock()
	if err != nil || !ok {
		return err
	}
	defer unlock()
	if rec, err := f.read(); err == nil && live(rec.Job) {
		return nil
	}
	return e.destroy(ctx, f)
}
