package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// child is a first process that this process started.
type child struct {
	cmd    *exec.Cmd
	order  *os.File // to write
	report *os.File // to read
	ended  chan struct{}
}

// spawn starts the first process of a sandbox, detached from this one. It waits
// for its order before it does anything.
func (e *Executor) spawn(f folder, job string, attr *syscall.SysProcAttr, g groups, h *hierarchy, files ...*os.File) (*child, error) {
	exe, err := e.exe()
	if err != nil {
		return nil, fmt.Errorf("find the sluice binary: %w", err)
	}
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = orderR.Close() }()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		_ = orderW.Close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = reportW.Close() }()
	c := &child{order: orderW, report: reportR, ended: make(chan struct{})}
	log, err := os.OpenFile(f.path("agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		c.close()
		return nil, err
	}
	defer func() { _ = log.Close() }()
	c.cmd = &exec.Cmd{
		Path:        exe,
		Args:        []string{Argv0, job},
		Env:         []string{"GOMAXPROCS=1", "GOTRACEBACK=single"},
		Dir:         "/",
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  append([]*os.File{orderR, reportW}, files...),
		SysProcAttr: attr,
	}
	attr.Setsid = true
	if err := c.start(g, h); err != nil {
		c.close()
		return nil, err
	}
	go func() { // ends with the sandbox, or with this process; then init reaps
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

func (c *child) start(g groups, h *hierarchy) error {
	if g.Unified != "" {
		dir, err := os.Open(g.Unified)
		if err != nil {
			return fmt.Errorf("open the cgroup: %w", err)
		}
		defer func() { _ = dir.Close() }()
		c.cmd.SysProcAttr.UseCgroupFD, c.cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	err := g.enter(h, c.cmd.Start)
	if err == nil {
		return nil
	}
	if c.cmd.SysProcAttr.Cloneflags == 0 {
		return fmt.Errorf("start the agent: %w", err)
	}
	return fmt.Errorf("start a process in namespaces of its own: %w: %w; `sluice doctor` says what this machine allows, and isolation %s needs none of it",
		err, ci.ErrUnavailable, Plain)
}

func (c *child) close() {
	_ = c.order.Close()
	_ = c.report.Close()
}

// command sends the order and waits until the first process has done it: until
// the agent takes connections, or the tree is removed.
func (c *child) command(ctx context.Context, o *order) (*report, error) {
	defer c.close()
	stop := context.AfterFunc(ctx, func() { _ = c.report.Close() })
	defer stop()
	if err := json.NewEncoder(c.order).Encode(o); err != nil {
		return nil, fmt.Errorf("tell the sandbox what to be: %w", err)
	}
	_ = c.order.Close()
	in := bufio.NewReader(c.report)
	line, err := in.ReadBytes('\n')
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("the sandbox died before it was ready: %w", err)
	}
	r := &report{}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, fmt.Errorf("the sandbox reports %q: %w", line, err)
	}
	// What follows is "ready", or a second report with the reason why not.
	rest, err := io.ReadAll(in)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(rest) > 0 && rest[0] == '{' {
		_ = json.Unmarshal(rest, r)
	}
	switch {
	case r.Error != "" && r.Full:
		return nil, fmt.Errorf("make the sandbox: %s: %w", r.Error, unix.ENOSPC)
	case r.Error != "":
		return nil, fmt.Errorf("make the sandbox: %s: %w", r.Error, ci.ErrUnavailable)
	case err != nil:
		return nil, fmt.Errorf("read the sandbox's report: %w", err)
	case o.Op == opServe && len(rest) == 0:
		return nil, errors.New("the sandbox died before it was ready")
	}
	return r, nil
}

// listen makes the socket of the agent in the folder. The path may be longer than
// a socket's address, so it goes through the folder's descriptor.
func (f folder) listen() (*os.File, error) {
	dir, err := os.Open(f.path())
	if err != nil {
		return nil, fmt.Errorf("make the sandbox's socket: %w", err)
	}
	defer func() { _ = dir.Close() }()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the sandbox's socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "agent.sock")
	addr := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/agent.sock"}
	if err = unix.Bind(fd, addr); err == nil {
		err = unix.Listen(fd, 512)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("make the sandbox's socket: %w", err)
	}
	return file, nil
}
