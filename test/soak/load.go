package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/client"
)

// kind is what a build does, and how it is to end.
type kind struct {
	name     string
	status   string
	commands []string
	output   string // with %s for the key
	cancel   bool   // it is stopped at some moment
}

// kinds of builds, each a project. All of them note that they ran, once.
func kinds(ran string) []kind {
	note := fmt.Sprintf("echo \"$KEY\" >> '%s'; echo \"$KEY begins\"", ran)
	var lines strings.Builder
	for n := range 300 {
		fmt.Fprintf(&lines, "line %d of %%[1]s\n", n+1)
	}
	return []kind{
		{name: "quick", status: client.Succeeded, commands: []string{note}, output: "%[1]s begins\n"},
		{name: "lines", status: client.Succeeded, commands: []string{note, `i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "line $i of $KEY"; done`}, output: "%[1]s begins\n" + lines.String()},
		{name: "fails", status: client.Failed, commands: []string{note, "exit 3"}, output: "%[1]s begins\n"},
		{name: "stopped", commands: []string{note, "sleep 30"}, output: "%[1]s begins\n", cancel: true},
	}
}

// load is what the clients did, and are told.
type load struct {
	o     options
	s     *server
	kinds []kind
	ran   string
	kills atomic.Int64

	mu      sync.Mutex
	builds  map[string]map[int64]string // by project and number: the key
	notices map[string]int              // by PROJECT/NUMBER: how often its end was told
	told    chan struct{}               // closed and replaced at each notice
}

func newLoad(ctx context.Context, o options, s *server) (*load, error) {
	l := &load{o: o, s: s, ran: filepath.Join(o.dir, "ran"), builds: map[string]map[int64]string{}, notices: map[string]int{}, told: make(chan struct{})}
	l.kinds = kinds(l.ran)
	for _, k := range l.kinds {
		l.builds[k.name] = map[int64]string{}
		dir := filepath.Join(o.dir, "source", k.name)
		spec, err := json.Marshal(map[string]any{"version": 0.2, "phases": map[string]any{"build": map[string]any{"commands": k.commands}}})
		if err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "buildspec.yml"), spec, 0o644)
		}
		if err == nil {
			_, err = s.client.CreateProject(ctx, client.Project{Name: k.name, Source: client.Source{Type: "directory", Location: dir}, Runtime: client.Runtime{Isolation: "none"}})
		}
		if err != nil {
			return nil, fmt.Errorf("project %s: %w", k.name, err)
		}
	}
	return l, l.listen(ctx)
}

// listen is the program that the server tells of builds.
func (l *load) listen(ctx context.Context) error {
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { // as long as this program lives
		_ = http.Serve(at, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var e struct {
				Subject string `json:"subject"`
			}
			if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.notices[e.Subject]++
			close(l.told)
			l.told = make(chan struct{})
		}))
	}()
	_, err = l.s.client.PutTarget(ctx, client.PutTarget{Target: client.Target{Name: "soak", Kind: "webhook", URL: "http://" + at.Addr().String()}})
	return err
}

// again tries until the server takes it: it is down now and then. What it refuses
// is an error.
func again(ctx context.Context, do func() error) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := do()
		var e *client.Error
		if err == nil || errors.As(err, &e) && e.Status < 500 && e.Status != http.StatusTooManyRequests {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; the last answer: %w", ctx.Err(), err)
		}
	}
}

// drive has clients start builds and watch them until ctx ends, and waits until
// those have ended that were begun.
func (l *load) drive(ctx context.Context) error {
	errs := make([]error, l.o.workers)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.o.length+settle)
	defer cancel()
	var work sync.WaitGroup
	for w := range l.o.workers {
		work.Go(func() {
			chance := rand.New(rand.NewPCG(l.o.seed, uint64(w+2)))
			for ctx.Err() == nil && errs[w] == nil {
				errs[w] = l.one(late, chance, l.kinds[chance.IntN(len(l.kinds))])
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// warm runs some builds, so that what is made once is there.
func (l *load) warm(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(l.o.seed, 0))
	for n := range 20 {
		if err := l.one(ctx, chance, l.kinds[n%3]); err != nil {
			return err
		}
	}
	return nil
}

// one is one build, from its start to its end, seen by one client.
func (l *load) one(ctx context.Context, chance *rand.Rand, k kind) error {
	key := fmt.Sprintf("%s-%016x", k.name, chance.Uint64())
	c := l.s.client
	var b client.Build
	err := again(ctx, func() (err error) {
		b, _, err = c.StartBuild(ctx, k.name, client.StartBuild{Key: key, Variables: []client.Variable{{Name: "KEY", Value: key}}})
		return err
	})
	if err != nil {
		return fmt.Errorf("start a build of %s: %w", k.name, err)
	}
	l.mu.Lock()
	l.builds[k.name][b.Number] = key
	l.mu.Unlock()
	if k.cancel {
		timer := time.NewTimer(time.Duration(chance.Int64N(int64(300 * time.Millisecond))))
		<-timer.C
		err := again(ctx, func() error {
			_, err := c.StopBuild(ctx, k.name, b.Number)
			return err
		})
		var e *client.Error
		if err != nil && !(errors.As(err, &e) && e.Status == http.StatusConflict) { // it had ended
			return fmt.Errorf("stop %s/%d: %w", k.name, b.Number, err)
		}
	} else if chance.IntN(2) == 0 { // one who reads along, through all restarts
		if err := l.readLog(ctx, k, b.Number, key, true); err != nil {
			return err
		}
	}
	err = again(ctx, func() error {
		return c.Events(ctx, k.name, b.Number, 0, func(client.Event) error { return nil })
	})
	if err != nil {
		return fmt.Errorf("follow %s/%d: %w", k.name, b.Number, err)
	}
	return nil
}

// readLog reads the log of a build, and compares it with what was printed.
func (l *load) readLog(ctx context.Context, k kind, number int64, key string, follow bool) error {
	var got []byte
	err := again(ctx, func() error {
		r, err := l.s.client.Log(ctx, k.name, number, client.LogOptions{Follow: follow})
		if err != nil {
			return err
		}
		got, err = io.ReadAll(r)
		return errors.Join(err, r.Close())
	})
	if err != nil {
		return fmt.Errorf("log of %s/%d: %w", k.name, number, err)
	}
	want := []byte(fmt.Sprintf(k.output, key))
	if bytes.Equal(got, want) || k.cancel && bytes.HasPrefix(want, got) {
		return nil
	}
	return fmt.Errorf("log of %s/%d (followed: %v): got %d bytes %.300q, want %d bytes %.100q", k.name, number, follow, len(got), got, len(want), want)
}
