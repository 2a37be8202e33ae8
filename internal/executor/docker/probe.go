package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Engine says which engine answers.
type Engine struct {
	Host    string // where: "unix:///var/run/docker.sock"
	Name    string // "Docker Engine", "Podman Engine"
	Version string
	API     string // the version spoken with it
	OS      string
	Arch    string // as Go names it

	// Asked for by Probe only.
	Rootless bool
	Cgroup   string // "1" or "2"
	CPUs     int
	Memory   int64
}

// String is "Docker Engine 20.10.24".
func (g *Engine) String() string { return g.Name + " " + g.Version }

// Podman says whether it is Podman, which differs here and there.
func (g *Engine) Podman() bool { return strings.HasPrefix(g.Name, "Podman") }

// probeTimeout is for an engine that has its hands full; one that is not there is
// found out at once.
const probeTimeout = 5 * time.Second

// Probe asks the engine who it is. It is fast (two calls), so that
// `--executor auto` can decide by it.
func (e *Executor) Probe(ctx context.Context) (*Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	known, err := e.engine(ctx)
	var info client.SystemInfoResult
	if err == nil {
		info, err = e.api.Info(ctx, client.InfoOptions{})
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the container engine at %s does not answer within %s: %w: %w", e.api.DaemonHost(), probeTimeout, err, ci.ErrUnavailable)
	case err != nil:
		return nil, e.explain(err)
	}
	g := *known
	g.Cgroup, g.CPUs, g.Memory = info.Info.CgroupVersion, info.Info.NCPU, info.Info.MemTotal
	for _, o := range info.Info.SecurityOptions {
		g.Rootless = g.Rootless || strings.Contains(o, "name=rootless")
	}
	return &g, nil
}

// engine asks once and remembers an answer, not a failure.
func (e *Executor) engine(ctx context.Context) (*Engine, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.info != nil {
		return e.info, nil
	}
	v, err := e.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, e.explain(err)
	}
	g := &Engine{Host: e.api.DaemonHost(), Name: "Docker Engine", Version: v.Version, API: e.api.ClientVersion(), OS: v.Os, Arch: v.Arch}
	for _, c := range v.Components {
		if strings.HasPrefix(c.Name, "Podman") {
			g.Name = c.Name
		}
	}
	if g.OS != "linux" {
		return nil, fmt.Errorf("the container engine runs %s containers; Sluice needs an engine for Linux containers: %w", g.OS, ci.ErrInvalid)
	}
	e.info = g
	return g, nil
}

// usable says whether something listens on a socket.
func usable(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return errors.Is(err, os.ErrPermission) // there is one, and using it will say what is wrong
	}
	_ = conn.Close()
	return true
}

// unreachable says whether an error is the connection's and not the engine's answer.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}
