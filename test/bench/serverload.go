package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/client"
)

const (
	triggers = 50
	warmups  = 5
)

// alarm hears when a command has begun: the command connects to it, which a
// shell can do by itself, in a sandbox too, and this process's own clock counts.
type alarm struct {
	l     *net.TCPListener
	heard chan time.Time
}

func newAlarm() (*alarm, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	a := &alarm{l: l, heard: make(chan time.Time, 1)}
	go func() { // until close
		defer close(a.heard)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.heard <- time.Now()
			_ = c.Close()
		}
	}()
	return a, nil
}

// command is one of bash that sets the alarm off.
func (a *alarm) command() string {
	return fmt.Sprintf(": >/dev/tcp/127.0.0.1/%d", a.l.Addr().(*net.TCPAddr).Port)
}

// serverTrigger measures from the call of the API to the first command, and to
// the event that the build is done.
func (b *bench) serverTrigger(ctx context.Context) error {
	a, err := newAlarm()
	if err != nil {
		return err
	}
	defer a.l.Close()
	bare, err := b.bareTrigger(ctx, a)
	if err != nil {
		return err
	}
	sync, err := b.fdatasync(triggers)
	if err != nil {
		return err
	}
	return b.with(ctx, "trigger", nil, func(s *served) error {
		budgets := []time.Duration{6 * time.Millisecond, 9 * time.Millisecond}
		for _, isolation := range []string{"none", "sandbox"} {
			first, done, err := s.triggered(ctx, a, isolation)
			if err != nil {
				return err
			}
			for i, times := range [][]time.Duration{first, done} {
				what := []string{"first command", "finished"}[i]
				floor := bare + time.Duration(i+1)*sync
				over := budgets[i]
				r := row{
					what: "trigger to " + what + ", isolation " + isolation, floor: ms2(floor) + fmt.Sprintf(" bash, %d fdatasync", i+1),
					budget: ms(over),
				}
				if isolation == "sandbox" {
					r.budget = "20 ms more than without"
				}
				got := median(times)
				r.got, r.ratio, r.ok = ms2(got), ratio(got, floor), got <= over
				b.add(r)
				b.add(row{what: "  p99", got: ms2(percentile(times, 99)), floor: r.floor, ratio: ratio(percentile(times, 99), floor), budget: "reported", ok: true})
				budgets[i] = got + 20*time.Millisecond
			}
		}
		return nil
	})
}

// bareTrigger is the start of such a command from this program.
func (b *bench) bareTrigger(ctx context.Context, a *alarm) (time.Duration, error) {
	var times []time.Duration
	for range triggers {
		cmd := b.command(ctx, b.dir, "bash", "-c", a.command())
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		if err := cmd.Wait(); err != nil {
			return 0, err
		}
		times = append(times, (<-a.heard).Sub(begin))
	}
	return median(times), nil
}

// fdatasync is what it takes to have 4 KiB on the disk.
func (b *bench) fdatasync(n int) (time.Duration, error) {
	f, err := os.Create(filepath.Join(b.dir, "synced"))
	if err != nil {
		return 0, err
	}
	var times []time.Duration
	block := make([]byte, 4096)
	for range n {
		begin := time.Now()
		if _, err = f.Write(block); err == nil {
			err = unix.Fdatasync(int(f.Fd()))
		}
		if err != nil {
			return 0, errors.Join(err, f.Close())
		}
		times = append(times, time.Since(begin))
	}
	return median(times), f.Close()
}

func (s *served) triggered(ctx context.Context, a *alarm, isolation string) (first, done []time.Duration, err error) {
	text := "version: 0.2\nenv:\n  shell: bash\nphases:\n  build:\n    commands:\n      - '" + a.command() + "'\n"
	project := "trigger-" + isolation
	if err := s.projectOf(ctx, client.Project{Name: project, Runtime: client.Runtime{Isolation: isolation}}, text); err != nil {
		return nil, nil, err
	}
	for i := range warmups + triggers {
		begin := time.Now()
		build, _, err := s.client.StartBuild(ctx, project, client.StartBuild{})
		if err != nil {
			return nil, nil, err
		}
		ended, err := s.finished(ctx, project, build.Number)
		if err != nil {
			return nil, nil, err
		}
		if began := <-a.heard; i >= warmups {
			first, done = append(first, began.Sub(begin)), append(done, ended.Sub(begin))
		}
	}
	return first, done, nil
}

// burst starts n builds of a project from several clients at once.
func (s *served) burst(ctx context.Context, project string, clients, n int) error {
	var next atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && errs[i] == nil {
				_, _, errs[i] = s.client.StartBuild(ctx, project, client.StartBuild{})
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// serverMany measures 200 builds that come in at once.
func (b *bench) serverMany(ctx context.Context) error {
	for _, c := range []struct {
		jobs, atOnce int
		budget       float64
	}{{2, 2, 300}, {1000, builds, 350}} {
		floor, err := b.processes(ctx, c.atOnce)
		if err != nil {
			return err
		}
		var rates []float64
		err = b.with(ctx, "many-server", []string{"--jobs", fmt.Sprint(c.jobs)}, func(s *served) error {
			for i := range 4 { // the first warms up
				project := fmt.Sprintf("many-%d", i)
				if err := s.projectOf(ctx, client.Project{Name: project, Runtime: plain}, spec("true")); err != nil {
					return err
				}
				begin := time.Now()
				if err := s.burst(ctx, project, 16, builds); err != nil {
					return err
				}
				last, err := s.settle(ctx, project, builds)
				if err != nil {
					return err
				}
				if i > 0 {
					rates = append(rates, builds/last.Sub(begin).Seconds())
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		rate := middle(rates)
		b.add(row{
			what: fmt.Sprintf("200 builds of true over the API, --jobs %d", c.jobs), got: fmt.Sprintf("%.0f/s", rate),
			floor: fmt.Sprintf("%.0f/s sh -c true, %d at a time", floor, c.atOnce), ratio: rate / floor,
			budget: fmt.Sprintf("%.0f/s, no error", c.budget), ok: rate >= c.budget,
		})
	}
	return nil
}

// processes is how many shells a second this program can start.
func (b *bench) processes(ctx context.Context, atOnce int) (float64, error) {
	var next atomic.Int64
	errs := make([]error, atOnce)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range atOnce {
		wg.Go(func() {
			for next.Add(1) <= builds && errs[i] == nil {
				_, errs[i] = b.timed(ctx, b.dir, "sh", "-c", "true")
			}
		})
	}
	wg.Wait()
	return builds / time.Since(begin).Seconds(), errors.Join(errs...)
}

// serverDurable measures how fast builds are taken in by a server that can run
// none of them: the first one waits, and the project has one at a time.
func (b *bench) serverDurable(ctx context.Context) error {
	const clients, span = 8, 2 * time.Second
	sync, err := b.fdatasync(20 * triggers)
	if err != nil {
		return err
	}
	return b.with(ctx, "durable", nil, func(s *served) error {
		gate := filepath.Join(b.dir, "gate")
		if err := unix.Mkfifo(gate, 0o600); err != nil {
			return err
		}
		project := client.Project{Name: "durable", Runtime: plain, Limits: client.Limits{Builds: 1}}
		if err := s.projectOf(ctx, project, spec("read line <"+gate)); err != nil {
			return err
		}
		if err := s.burst(ctx, project.Name, 1, 1); err != nil {
			return err
		}
		open, err := os.OpenFile(gate, os.O_WRONLY, 0) // returns when the build reads
		if err != nil {
			return err
		}
		defer open.Close()
		n, took, err := s.flood(ctx, project.Name, clients, span)
		if err != nil {
			return err
		}
		rate := float64(n) / took.Seconds()
		floor := 1 / sync.Seconds()
		b.add(row{
			what: "builds taken in, on the disk, 8 clients", got: fmt.Sprintf("%.0f/s", rate),
			floor: fmt.Sprintf("%.0f/s fdatasync, one by one", floor), ratio: rate / floor, budget: "1500/s, no error", ok: rate >= 1500,
		})
		return nil // the sandbox that waits ends with the server
	})
}

// flood starts builds for a while and counts the answers.
func (s *served) flood(ctx context.Context, project string, clients int, span time.Duration) (n int64, took time.Duration, err error) {
	var count atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range clients {
		wg.Go(func() {
			for time.Since(begin) < span && errs[i] == nil {
				if _, _, errs[i] = s.client.StartBuild(ctx, project, client.StartBuild{}); errs[i] == nil {
					count.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return count.Load(), time.Since(begin), errors.Join(errs...)
}
