package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/client"
)

// served is a running `sluice serve` with a data folder of its own. One runs at
// a time: they would take each other's processors.
type served struct {
	b      *bench
	client *client.Client
	cmd    *exec.Cmd
	data   string
	url    string
	token  string
	log    string        // file with what it says
	ready  time.Duration // from its start until it said that it was ready
	ended  chan struct{}
}

// connections is how many the client keeps open at most: what is measured is
// requests, not connecting.
const connections = 64

// readyWithin is for how long a server may be silent before the bench gives up.
const readyWithin = 30 * time.Second

// serve starts a server on a data folder and waits until it says that it is ready.
func (b *bench) serve(ctx context.Context, data string, args ...string) (*served, error) {
	// Sandboxes outlive their server. When it ends they become children of this
	// process, which then ends them.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphans: %w", err)
	}
	name := "@sluice-bench-" + rand.Text() // abstract: a path may be too long for a socket
	hear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer hear.Close()
	if err := hear.SetReadDeadline(time.Now().Add(readyWithin)); err != nil {
		return nil, err
	}
	s := &served{b: b, data: data, log: data + ".log", ended: make(chan struct{})}
	argv := append([]string{b.sluice, "serve", "--data", data, "--listen", "127.0.0.1:0"}, args...)
	s.cmd = b.command(ctx, b.dir, argv...)
	s.cmd.Env = append(s.cmd.Env, "NOTIFY_SOCKET="+name)
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = log
	begin := time.Now()
	err = s.cmd.Start()
	err = errors.Join(err, log.Close())
	if err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // what it said is in its log
		close(s.ended)
		_ = hear.Close()
	}()
	buf := make([]byte, 4096)
	n, err := hear.Read(buf)
	s.ready = time.Since(begin)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the server did not get ready: %w\n%s", err, s.said()), s.stop())
	}
	_, s.url, _ = strings.Cut(string(buf[:n]), "STATUS=")
	if err := s.connect(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *served) connect() error {
	token, err := os.ReadFile(filepath.Join(s.data, "admin-token"))
	if err != nil {
		return err
	}
	s.token = strings.TrimSpace(string(token))
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	s.client, err = client.New(s.url, s.token, client.WithHTTP(web))
	return err
}

// patience is for how long a server that was asked to stop may take.
const patience = 10 * time.Second

// stop ends the server and the sandboxes that it left.
func (s *served) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	late := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	<-s.ended
	late.Stop()
	return endChildren()
}

// with starts a server, has f use it and stops it.
func (b *bench) with(ctx context.Context, name string, args []string, f func(*served) error) error {
	s, err := b.serve(ctx, filepath.Join(b.dir, name), args...)
	if err != nil {
		return err
	}
	err = f(s)
	if err != nil {
		err = fmt.Errorf("%w\nthe server's last words:\n%s", err, s.said())
	}
	err = errors.Join(err, s.stop())
	return errors.Join(err, os.RemoveAll(s.data))
}

// said is the end of what the server logged.
func (s *served) said() string {
	text, _ := os.ReadFile(s.log) // what there is of it
	const most = 2000
	return string(text[max(0, len(text)-most):])
}

// endChildren kills what this process is the parent of: no measurement leaves
// one that is still needed.
func endChildren() error {
	for {
		pids, err := children(os.Getpid())
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
				return fmt.Errorf("wait for process %d: %w", pid, err)
			}
		}
	}
}

// projectOf makes a project of a folder with that buildspec.
func (s *served) projectOf(ctx context.Context, p client.Project, buildspec string) error {
	dir, err := s.b.project(filepath.Base(s.data)+"-"+p.Name, buildspec)
	if err != nil {
		return err
	}
	p.Source = client.Source{Type: "directory", Location: dir}
	p.Runtime.Executor = "local"
	_, err = s.client.CreateProject(ctx, p)
	return err
}

// plain is the runtime of builds without isolation.
var plain = client.Runtime{Isolation: "none"}

// spec is a buildspec of one command.
func spec(command string) string {
	return "version: 0.2\nphases:\n  build:\n    commands:\n      - |\n        " + command + "\n"
}

// finished follows a build and says when it heard that it was done.
func (s *served) finished(ctx context.Context, project string, number int64) (time.Time, error) {
	var at time.Time
	err := s.client.Events(ctx, project, number, 0, func(e client.Event) error {
		if e.Type != "build_finished" {
			return nil
		}
		at = time.Now()
		if e.Status != client.Succeeded {
			return fmt.Errorf("build %s/%d is %s: %s", project, number, e.Status, e.Data)
		}
		return nil
	})
	return at, err
}

// settle waits until no build of a project is under way, and says when the last
// one ended. Following each of them would be more work than the builds are.
func (s *served) settle(ctx context.Context, project string, want int) (last time.Time, err error) {
	f := client.BuildFilter{Project: project, Status: []string{client.Queued, client.Running, client.Waiting}, Paging: client.Paging{Limit: 1}}
	for {
		open, err := s.client.Builds(ctx, f)
		if err != nil {
			return last, err
		}
		if len(open.Items) == 0 {
			break
		}
		if _, err := s.finished(ctx, project, open.Items[0].Number); err != nil {
			return last, err
		}
	}
	f = client.BuildFilter{Project: project, Paging: client.Paging{Limit: 200}}
	seen := 0
	for more := true; more; more = f.After != "" {
		page, err := s.client.Builds(ctx, f)
		if err != nil {
			return last, err
		}
		for _, b := range page.Items {
			if seen++; b.Status != client.Succeeded {
				return last, fmt.Errorf("build %s/%d is %s: %s", project, b.Number, b.Status, b.Reason)
			}
			if b.Ended.After(last) {
				last = b.Ended
			}
		}
		f.After = page.Next
	}
	if seen != want {
		return last, fmt.Errorf("project %s has %d builds, want %d", project, seen, want)
	}
	return last, nil
}
