package executortest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ci/sluice/internal/agent"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bare-agent" {
		os.Exit(agent.Main(os.Args[2:]))
	}
	RunClient(func(state string) (ci.Executor, func(ci.JobID) ci.Placement, error) {
		return &bare{state}, placement, nil
	})
	os.Exit(m.Run())
}

func placement(job ci.JobID) ci.Placement { return ci.Placement{Job: job} }

// TestRun holds the agent alone to the suite, on plain processes.
func TestRun(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	for d := state; d != "/" && strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755) // the run-as user walks through
	}
	f := Features{Leaves: true, Why: "plain processes"}
	if os.Geteuid() == 0 {
		f.User = "nobody"
	}
	_, err := exec.LookPath("bash")
	f.Bash = err == nil
	Run(t, Suite{
		Open:      func(testing.TB) ci.Executor { return &bare{state} },
		Placement: placement,
		State:     state,
		Features:  f,
		Kill: func(t testing.TB, job ci.JobID, _ ci.Sandbox) {
			pid, err := os.ReadFile(filepath.Join((&bare{state}).folder(job), "pid"))
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(string(pid))
			if err != nil {
				t.Fatal(err)
			}
			left := below(n)
			if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for _, pid := range left { // what a PID namespace or a control group does in a real executor
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		},
	})
}

// below lists the descendants of a process.
func below(pid int) []int {
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		data, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(f); err == nil {
				out = append(append(out, child), below(child)...)
			}
		}
	}
	return out
}

// bare is the least executor there can be: an agent in a process of its own.
type bare struct{ dir string }

type bareBox struct {
	*agent.Client
	dirs  ci.Dirs
	dir   string
	fresh bool
}

func (b *bare) Name() string { return "bare" }

func (b *bare) folder(job ci.JobID) string {
	return filepath.Join(b.dir, hex.EncodeToString([]byte(job)))
}

func (b *bare) Open(ctx context.Context, p ci.Placement) (ci.Sandbox, error) {
	dir := b.folder(p.Job)
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	box := &bareBox{
		Client: &agent.Client{Dial: func(ctx context.Context) (net.Conn, error) { return agent.Dial(ctx, dir+"/sock") }},
		dirs:   ci.Dirs{Source: dir + "/src", Home: dir + "/home", Temp: dir + "/tmp"},
		dir:    dir,
	}
	if box.Ping(ctx) == nil {
		return box, nil
	}
	box.fresh = true
	return box, box.begin()
}

func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Unlocked and not only closed, because a process being forked holds a copy.
	return func() { _ = errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close()) }, syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}

func (x *bareBox) begin() error {
	if err := os.RemoveAll(x.dir); err != nil {
		return err
	}
	for _, d := range []string{x.dirs.Source, x.dirs.Home, x.dirs.Temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	settings, err := json.Marshal(agent.Settings{
		Socket: x.dir + "/sock", Dirs: x.dirs, Spool: x.dir, ReadyFD: 3,
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + x.dirs.Home},
	})
	if err == nil {
		err = os.WriteFile(x.dir+"/settings", settings, 0o600)
	}
	if err != nil {
		return err
	}
	ready, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(os.Args[0], "bare-agent", x.dir+"/settings")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	if said, _ := io.ReadAll(ready); string(said) != "ready\n" {
		return fmt.Errorf("the agent said %q", said)
	}
	return os.WriteFile(x.dir+"/pid", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

func (b *bare) Sweep(ctx context.Context, live func(ci.JobID) bool) error {
	list, err := os.ReadDir(b.dir)
	for _, d := range list {
		job, decodeErr := hex.DecodeString(d.Name())
		if decodeErr != nil || live(ci.JobID(job)) {
			continue
		}
		unlock, lockErr := lock(b.folder(ci.JobID(job)) + ".lock")
		if lockErr != nil {
			return lockErr
		}
		dir := b.folder(ci.JobID(job))
		box := &bareBox{dir: dir, Client: &agent.Client{Dial: func(ctx context.Context) (net.Conn, error) { return agent.Dial(ctx, dir+"/sock") }}}
		err = errors.Join(err, box.Close(ctx))
		unlock()
	}
	return err
}

func (x *bareBox) Fresh() bool       { return x.fresh }
func (x *bareBox) Placed() ci.Placed { return ci.Placed{Executor: "bare"} }
func (x *bareBox) Dirs() ci.Dirs     { return x.dirs }

func (x *bareBox) Usage(context.Context) (ci.Usage, error) { return ci.Usage{}, nil }

func (x *bareBox) Close(ctx context.Context) error {
	if err := x.Shutdown(ctx); err != nil && !errors.Is(err, ci.ErrUnavailable) {
		return err
	}
	return os.RemoveAll(x.dir)
}
