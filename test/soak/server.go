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

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sluice-ci/sluice/client"
)

// server is the `sluice serve` under test, in one process after the other.
type server struct {
	o      options
	data   string
	listen string
	client *client.Client
	token  string
	cmd    *exec.Cmd
	ended  chan struct{}
	log    *os.File
}

// readyWithin is for how long a server may take to get ready.
const readyWithin = 2 * time.Minute

func newServer(ctx context.Context, o options) (*server, error) {
	s := &server{o: o, data: filepath.Join(o.dir, "data")}
	// One address for all of them, so that clients find the next one.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.listen = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(o.dir, "server.log")); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	token, err := os.ReadFile(filepath.Join(s.data, "admin-token"))
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.token = strings.TrimSpace(string(token))
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	retry := client.Retry{First: 20 * time.Millisecond, Most: 500 * time.Millisecond, Attempts: 1000, Silence: time.Minute}
	s.client, err = client.New("http://"+s.listen, s.token, client.WithHTTP(web), client.WithRetry(retry))
	return s, err
}

// start starts a process and waits until it says that it is ready.
func (s *server) start(ctx context.Context) error {
	name := "@sluice-soak-" + rand.Text()
	hear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer hear.Close()
	if err := hear.SetReadDeadline(time.Now().Add(readyWithin)); err != nil {
		return err
	}
	args := []string{"serve", "--data", s.data, "--listen", s.listen, "--notify-allow", "127.0.0.0/8"}
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), s.o.sluice, args...)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+name, "HOME="+s.data)
	if s.o.database != "" {
		s.cmd.Env = append(s.cmd.Env, "SLUICE_DATABASE="+s.o.database)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.ended = ended
	cmd := s.cmd
	go func() { // ends with the process, whose end stop and restart wait for
		_ = cmd.Wait()
		close(ended)
		_ = hear.SetReadDeadline(time.Now())
	}()
	if _, err := hear.Read(make([]byte, 4096)); err != nil {
		return fmt.Errorf("the server did not get ready: %w; its last words:\n%s", err, s.said())
	}
	return nil
}

// said is the end of what the servers logged.
func (s *server) said() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(text[max(0, len(text)-most):])
}

// restart ends the process with a signal, and starts the next one.
func (s *server) restart(ctx context.Context, sign syscall.Signal) error {
	if err := s.cmd.Process.Signal(sign); err != nil {
		return fmt.Errorf("the server ended by itself: %w:\n%s", err, s.said())
	}
	select {
	case <-s.ended:
	case <-time.After(readyWithin):
		return fmt.Errorf("the server does not end on %s:\n%s", sign, s.said())
	}
	return s.start(ctx)
}

// stop ends the server as an operator would.
func (s *server) stop() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.ended:
		return nil
	case <-time.After(readyWithin):
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("the server did not end when it was asked to:\n%s", s.said())
	}
}

// sizes are what may not grow, by the server's own metrics.
type sizes struct {
	files, goroutines, memory float64
}

func (s *server) size(ctx context.Context) (z sizes, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.listen+"/metrics", nil)
	if err != nil {
		return z, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return z, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return z, fmt.Errorf("read metrics: %s: %w", resp.Status, err)
	}
	for name, into := range map[string]*float64{"process_open_fds": &z.files, "sluice_goroutines": &z.goroutines, "sluice_memory_bytes": &z.memory} {
		m := all[name].GetMetric()
		if len(m) == 0 {
			return z, fmt.Errorf("read metrics: there is no %s", name)
		}
		*into = m[len(m)-1].GetGauge().GetValue() // of memory the total, which comes last
	}
	return z, nil
}

// grown says whether the server has become bigger than it may. Some files and
// goroutines come and go with connections; memory moves with the collector.
func grown(before, after sizes) error {
	fmt.Printf("soak: files %g to %g, goroutines %g to %g, memory %.0f to %.0f MB\n",
		before.files, after.files, before.goroutines, after.goroutines, before.memory/1e6, after.memory/1e6)
	var errs []error
	if after.files > before.files+40 {
		errs = append(errs, fmt.Errorf("open files grew from %g to %g", before.files, after.files))
	}
	if after.goroutines > before.goroutines+200 {
		errs = append(errs, fmt.Errorf("goroutines grew from %g to %g", before.goroutines, after.goroutines))
	}
	if after.memory > 2*before.memory+100e6 {
		errs = append(errs, fmt.Errorf("memory grew from %.0f to %.0f MB", before.memory/1e6, after.memory/1e6))
	}
	return errors.Join(errs...)
}
