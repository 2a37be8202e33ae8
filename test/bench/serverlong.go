package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/client"
)

// serverLong measures builds of `sleep 5` that all run at once. It takes half a
// minute, in which the machine is hardly at work, so it is behind -long.
func (b *bench) serverLong(ctx context.Context) error {
	if !b.long {
		return nil
	}
	for _, c := range []struct {
		n      int
		span   time.Duration
		memory float64 // MB
	}{{100, 5300 * time.Millisecond, 45}, {1000, 6500 * time.Millisecond, 200}} {
		floor, err := b.sleepers(ctx, c.n)
		if err != nil {
			return err
		}
		err = b.with(ctx, fmt.Sprintf("long-%d", c.n), []string{"--jobs", fmt.Sprint(c.n)}, func(s *served) error {
			if err := s.projectOf(ctx, client.Project{Name: "sleepers", Runtime: plain}, spec("sleep 5")); err != nil {
				return err
			}
			begin := time.Now()
			if err := s.burst(ctx, "sleepers", 16, c.n); err != nil {
				return err
			}
			last, err := s.settle(ctx, "sleepers", c.n)
			if err != nil {
				return err
			}
			got := last.Sub(begin)
			peak, err := s.memory("VmHWM")
			if err != nil {
				return err
			}
			b.add(row{
				what: fmt.Sprintf("%d builds of sleep 5 at once", c.n), got: ms(got), floor: ms(floor) + " sh -c 'sleep 5'",
				ratio: ratio(got, floor), budget: ms(c.span), ok: got <= c.span,
			})
			b.add(row{what: "  peak memory of the server process", got: fmt.Sprintf("%.1f MB", float64(peak)/1e6), budget: fmt.Sprintf("%.0f MB", c.memory), ok: float64(peak)/1e6 <= c.memory})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sleepers is how long as many bare shells take that this program starts at once.
func (b *bench) sleepers(ctx context.Context, n int) (time.Duration, error) {
	done := make(chan error, n)
	begin := time.Now()
	for range n {
		go func() {
			_, err := b.timed(ctx, b.dir, "sh", "-c", "sleep 5; true") // two processes, as in a build
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}
