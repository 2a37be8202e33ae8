package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/agent"
	"github.com/sluice-ci/sluice/internal/ci"
)

// Sandbox is one job's place on this machine. It is a ci.Sandbox and
// ci.Interactive; commands and files are the agent's (see agent.Client).
type Sandbox struct {
	*agent.Client
	executor *Executor
	folder   folder
	rec      *record
	fresh    bool

	// Of one that this process made:
	child  *child
	report *report
}

func (e *Executor) sandbox(f folder, rec *record, c *child) *Sandbox {
	return &Sandbox{
		Client: &agent.Client{Dial: func(ctx context.Context) (net.Conn, error) {
			if rec.Isolation == GVisor {
				return agent.Dial(ctx, f.gvisorSocket())
			}
			return agent.Dial(ctx, f.socket())
		}},
		executor: e,
		folder:   f,
		rec:      rec,
		fresh:    c != nil,
		child:    c,
	}
}

// Fresh says that this Open made the sandbox.
func (s *Sandbox) Fresh() bool { return s.fresh }

// Placed says where the sandbox is and what really isolates it.
func (s *Sandbox) Placed() ci.Placed { return s.rec.Placed }

// Dirs are paths in the sandbox.
func (s *Sandbox) Dirs() ci.Dirs { return s.rec.Dirs }

// Start runs a command or finds it; see ci.Sandbox.
func (s *Sandbox) Start(ctx context.Context, c ci.Command) (ci.Process, error) {
	if name, _, _ := strings.Cut(c.User, ":"); s.rec.Single && name != "" && name != "root" && name != "0" {
		// The step ends as any that cannot be started: with the reason in its output.
		c = ci.Command{ID: c.ID, Shell: "sh", Env: append(c.Env, "SLUICE_USER="+c.User), Script: oneUser}
	}
	if s.rec.Isolation == GVisor && slices.ContainsFunc(c.Env, func(kv string) bool { return len(kv) >= longestVariable }) {
		c = ci.Command{ID: c.ID, Shell: "sh", Script: tooLong}
	}
	return s.Client.Start(ctx, c)
}

// longestVariable is what the kernel takes; gVisor refuses more with an error
// that says nothing of the environment.
const longestVariable = 128 << 10

// tooLong is what a command with a longer variable comes to.
const tooLong = `echo "sluice: cannot start the command: an environment variable is longer than 128 KiB" >&2
exit 126`

// oneUser is what a command run as another user comes to where there is none.
const oneUser = `echo "sluice: cannot run as $SLUICE_USER: this sandbox has one user, because this machine lends no others to who runs sluice.` +
	` Install newuidmap and newgidmap (package uidmap) and give that user a range in /etc/subuid and /etc/subgid." >&2
exit 126`

// Usage so far, by the sandbox's cgroups; zero where there are none.
func (s *Sandbox) Usage(context.Context) (ci.Usage, error) { return s.rec.Groups.usage(), nil }

// Close ends every process of the sandbox and removes it.
func (s *Sandbox) Close(ctx context.Context) error {
	unlock, err := s.folder.lock(ctx)
	if err != nil {
		return fmt.Errorf("close the sandbox of %s: %w", s.rec.Job, err)
	}
	defer unlock()
	// Another may stand in its place by now.
	if rec, err := s.folder.read(); err == nil && rec.Process != s.rec.Process {
		return nil
	}
	if err := s.executor.destroy(ctx, s.folder); err != nil {
		return fmt.Errorf("close the sandbox of %s: %w", s.rec.Job, err)
	}
	s.executor.spares.closed()
	return nil
}

// make makes the sandbox. The caller holds the lock, and destroys what is there
// when make did not succeed. The record is on disk before each thing that it
// would take to find it.
func (e *Executor) make(ctx context.Context, f folder, p ci.Placement) (*Sandbox, error) {
	rec := &record{Job: p.Job, Isolation: p.Runtime.Isolation, Dirs: sandboxDirs}
	if rec.Isolation == Plain {
		rec.Dirs = plainDirs(f)
	}
	if err := os.Mkdir(f.path(), 0o700); err != nil {
		return nil, fmt.Errorf("make the sandbox's folder: %w", err)
	}
	h, err := e.groups()
	if err != nil {
		return nil, err
	}
	rec.Groups = h.plan(f.group())
	if err := f.write(rec); err != nil {
		return nil, err
	}
	state := e.limit(h, rec, p.Runtime)
	c, o, err := e.begin(ctx, f, p, rec, h)
	if err != nil {
		return nil, err
	}
	if state.Fallback != "" {
		o.Processes = e.processes(p.Runtime)
	}
	o.OOMEvents = rec.Groups.oomEvents()
	r, err := c.command(ctx, o)
	if err == nil && rec.Isolation == GVisor {
		err = e.awaitGVisor(ctx, f, rec, c)
	}
	if err != nil {
		return nil, e.explain(f, err)
	}
	rec.Ready = true
	rec.Placed = e.placed(p.Runtime, rec, r, state)
	if err := f.write(rec); err != nil {
		return nil, err
	}
	s := e.sandbox(f, rec, c)
	s.report = r
	return s, nil
}

// limit makes the sandbox's cgroups, or finds them, with the limits of the
// runtime, and says what of them holds.
func (e *Executor) limit(h *hierarchy, rec *record, r ci.Runtime) held {
	state := h.make(&rec.Groups, limits{cpus: r.CPUs, memory: r.Memory, processes: e.processes(r)})
	if rec.Isolation == Sandboxed && !state.holds("pids") && os.Geteuid() != 0 {
		state.Fallback = "processes by rlimit"
	}
	return state
}

// processes is the limit of processes, with those of the agent.
func (e *Executor) processes(r ci.Runtime) int64 {
	if r.Processes == 0 {
		return e.cfg.Processes + agentThreads
	}
	return r.Processes + agentThreads
}

func (e *Executor) placed(rt ci.Runtime, rec *record, r *report, state held) ci.Placed {
	return ci.Placed{
		Executor: e.Name(), Isolation: describe(rt, rec, r, state), Size: rt.Size, CPUs: rt.CPUs, Memory: rt.Memory,
	}
}

// awaitGVisor waits until the agent inside answers.
func (e *Executor) awaitGVisor(ctx context.Context, f folder, rec *record, c *child) error {
	s := e.sandbox(f, rec, nil)
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		if s.Ping(ctx) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ended:
			return fmt.Errorf("runsc ended before the agent was ready: %w", ci.ErrUnavailable)
		case <-time.After(wait):
		}
	}
}

// begin starts the first process and says what it shall be told.
func (e *Executor) begin(ctx context.Context, f folder, p ci.Placement, rec *record, h *hierarchy) (*child, *order, error) {
	socket, err := f.listen()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = socket.Close() }()
	exe, err := e.exe()
	if err != nil {
		return nil, nil, fmt.Errorf("find the sluice binary: %w", err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "sluice"
	}
	o := &order{
		Op: opServe, Hostname: hostname, Folder: f.path(), Isolation: rec.Isolation, Dirs: rec.Dirs, Exe: exe, Tools: e.cfg.Tools,
		Privileged: p.Runtime.Privileged, Network: p.Runtime.Network,
	}
	if rec.Isolation == GVisor {
		if o.Runsc, err = e.findRunsc(); err != nil {
			return nil, nil, err
		}
	}
	attr, files := &syscall.SysProcAttr{}, []*os.File{socket}
	if rec.Isolation != Plain {
		if err := f.prepareFolder(); err != nil {
			return nil, nil, err
		}
		o.Layers = e.host.layers()
		view, err := e.hostView(f, o.Layers)
		if err != nil {
			return nil, nil, fmt.Errorf("show the host's file system: %w", err)
		}
		if view != nil {
			defer func() { _ = view.Close() }()
			files, o.HostFD = append(files, view), hostFD
		}
		if rec.Maps, err = chooseMaps(); err != nil {
			return nil, nil, err
		}
		rec.Single = rec.Maps.single()
		attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
		if o.Network == "none" && rec.Isolation == Sandboxed {
			attr.Cloneflags |= syscall.CLONE_NEWNET
		}
		rec.Maps.apply(attr)
	}
	c, err := e.spawn(f, string(p.Job), attr, rec.Groups, h, files...)
	if err != nil {
		return nil, nil, err
	}
	// What follows is done while it starts.
	if rec.Process, err = identify(c.cmd.Process.Pid); err == nil {
		err = f.write(rec)
	}
	if err == nil && rec.Maps != nil {
		err = rec.Maps.write(ctx, c.cmd.Process.Pid)
	}
	if err != nil {
		c.close() // it ends by itself, for want of an order
		<-c.ended
		return nil, nil, err
	}
	o.Single, o.Ordinary = rec.Single, os.Geteuid() != 0
	tools := toolsDir
	if rec.Isolation == Plain {
		tools = f.path("bin")
	}
	o.Env = e.host.environ(rec.Dirs, tools, rec.Isolation != Plain)
	if rec.Isolation == Plain {
		o.Env = append(o.Env, f.mark())
	}
	return c, o, nil
}

// explain adds what the agent said before it died.
func (e *Executor) explain(f folder, err error) error {
	if data, _ := os.ReadFile(f.path("agent.log")); len(data) > 0 && !strings.Contains(err.Error(), "make the sandbox") {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(data[:min(len(data), 2000)])))
	}
	return err
}

// describe is the line of Placed.
func describe(rt ci.Runtime, rec *record, r *report, state held) string {
	var parts []string
	if rec.Isolation == GVisor {
		network := "host network"
		if rt.Network == "none" {
			network = "no network"
		}
		parts = append(append(parts, "runsc (a kernel in user space) in user, mount, pid namespaces", network), r.Has...)
		state.Misses = append(state.Misses, "a memory limit ends the whole sandbox", "processes in gVisor are not limited")
	} else if rec.Isolation == Plain {
		parts = append(parts, "commands run as plain processes of this machine, with all that its user may do")
	} else {
		names := "user, mount, pid, ipc, uts namespaces"
		if rt.Network == "none" {
			names = "user, mount, pid, ipc, uts, net namespaces"
			parts = append(parts, names, "no network")
		} else {
			parts = append(parts, names, "host network")
		}
		parts = append(parts, r.Has...)
		switch {
		case rt.Privileged:
			parts = append(parts, "PRIVILEGED: no seccomp, all capabilities")
		case len(machineABIs()) > 0:
			parts = append(parts, "seccomp")
		}
	}
	parts = append(parts, state.String())
	if rec.Single {
		parts = append(parts, "one user")
	}
	parts = append(parts, r.Lacks...)
	return rec.Isolation + ": " + strings.Join(parts, "; ")
}

// removeMapped empties the folder as the users that its files belong to, who
// exist for this process only in a user namespace like the sandbox's.
func (e *Executor) removeMapped(ctx context.Context, f folder, m *idMaps) error {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	m.apply(attr)
	c, err := e.spawn(f, "remove", attr, groups{}, nil)
	if err != nil {
		return err
	}
	if err := m.write(ctx, c.cmd.Process.Pid); err != nil {
		c.close()
		<-c.ended
		return err
	}
	_, err = c.command(ctx, &order{Op: opRemove, Folder: f.path()})
	<-c.ended
	return err
}

// destroy ends everything of a sandbox and removes it, whatever state it is in.
// The caller holds the lock.
func (e *Executor) destroy(ctx context.Context, f folder) error {
	if _, err := os.Lstat(f.path()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	real := f.real()
	rec, err := f.read()
	if err != nil {
		rec = &record{} // of a half-made one there is nothing to end
	}
	// A PID namespace ends with its first process, and a cgroup forgets nobody.
	// Without either the agent must end what it knows of, and the mark the rest.
	alone := rec.Isolation == Plain && len(rec.Groups.all()) == 0
	if alone {
		e.shutDown(ctx, f, rec)
	}
	if err := rec.Process.kill(ctx); err != nil {
		return err
	}
	if err := rec.Groups.kill(ctx); err != nil {
		return err
	}
	if alone {
		if err := killMarked(ctx, f); err != nil {
			return err
		}
	}
	if err := rec.Groups.remove(ctx); err != nil {
		return err
	}
	if rec.Maps != nil && rec.Maps.Helpers {
		if err := e.removeMapped(ctx, real, rec.Maps); err != nil {
			return err
		}
	}
	if err := removeTree(real.path()); err != nil || real == f {
		return err
	}
	_ = os.Remove(real.path() + ".lock")
	return removeTree(f.path()) // the link
}

// politeness is how long an agent without a PID namespace has to end what it
// started; after that it is done from outside.
const politeness = 5 * time.Second

func (e *Executor) shutDown(ctx context.Context, f folder, rec *record) {
	if !rec.Ready || !rec.Process.alive() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, politeness)
	defer cancel()
	_ = e.sandbox(f, rec, nil).Shutdown(ctx)
}
