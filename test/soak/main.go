// Command soak keeps a `sluice serve` under load for a while and kills it again
// and again. At the end every build that was accepted must have ended as it should,
// have run once, and have its log whole; every notice must have come; and nothing
// may be left over: no process, no folder, no open build. While nobody kills it,
// the server may not grow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	sluice, postgres, dir string
	database              string // of the schema
	length                time.Duration
	seed                  uint64
	workers               int
}

func main() {
	var o options
	flag.StringVar(&o.sluice, "sluice", "./sluice", "the program to test")
	flag.StringVar(&o.postgres, "postgres", "", "postgres://… of a server, in which a schema is made for the time; SQLite when left out")
	flag.StringVar(&o.dir, "dir", "", "folder to work in; a temporary one when left out, kept when something is wrong")
	flag.DurationVar(&o.length, "time", time.Minute, "how long builds are started; what was started then still ends")
	flag.Uint64Var(&o.seed, "seed", 0, "of all chance; 0 = by the clock")
	flag.IntVar(&o.workers, "workers", 6, "clients that start builds")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// settle is for how long what was accepted may take to end once no more is started.
const settle = 5 * time.Minute

func run(ctx context.Context, o options) (err error) {
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "sluice-soak-")
		if err != nil {
			return err
		}
		o.dir = dir
	}
	if o.sluice, err = filepath.Abs(o.sluice); err != nil {
		return err
	}
	if o.postgres != "" {
		var remove func() error
		if o.database, remove, err = schema(ctx, o.postgres); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	// What outlives its parents becomes a child of this process, which so knows of it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	fmt.Printf("soak: %s, seed %d, in %s\n", o.length, o.seed, o.dir)
	s, err := newServer(ctx, o)
	if err != nil {
		return err
	}
	l, err := newLoad(ctx, o, s)
	if err == nil {
		err = l.soak(ctx)
	}
	err = errors.Join(err, s.stop())
	err = errors.Join(err, leftOver(o.dir))
	if err != nil {
		return fmt.Errorf("seed %d, see %s: %w", o.seed, o.dir, err)
	}
	l.report()
	return os.RemoveAll(o.dir)
}

// soak is the whole run: a part in which the server is killed, and one in which
// it is watched.
func (l *load) soak(ctx context.Context) error {
	chaos, cancel := context.WithTimeout(ctx, l.o.length*2/3)
	defer cancel()
	var work sync.WaitGroup
	var killed error
	work.Go(func() { killed = l.kill(chaos) })
	err := l.drive(chaos)
	work.Wait()
	if err = errors.Join(err, killed); err != nil {
		return err
	}
	if err := l.warm(ctx); err != nil {
		return err
	}
	before, err := l.s.size(ctx)
	if err != nil {
		return err
	}
	calm, cancel := context.WithTimeout(ctx, l.o.length/3)
	defer cancel()
	if err := l.drive(calm); err != nil {
		return err
	}
	after, err := l.s.size(ctx)
	if err != nil {
		return err
	}
	return errors.Join(grown(before, after), l.check(ctx))
}

// kill kills the server at random moments, or asks it to stop, and starts it
// again, until ctx ends. The server runs when it returns.
func (l *load) kill(ctx context.Context) error {
	chance := rand.New(rand.NewPCG(l.o.seed, 1))
	for {
		timer := time.NewTimer(500*time.Millisecond + time.Duration(chance.Int64N(int64(4*time.Second))))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		sign := syscall.SIGKILL
		if chance.IntN(4) == 0 {
			sign = syscall.SIGTERM
		}
		l.kills.Add(1)
		if err := l.s.restart(context.WithoutCancel(ctx), sign); err != nil {
			return err
		}
	}
}
