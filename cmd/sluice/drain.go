package main

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// untilAsked returns when the server is to stop: at once when asked ends, or, with a
// time to drain, when that is over, or at a second signal. Until then the server
// answers, jobs that run may end, and no other begins; when the last has ended
// the runner ends, and all with it. What runs on after that is taken up at the next start.
func (s *server) untilAsked(ctx, asked context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-asked.Done():
	}
	if s.cfg.drain <= 0 {
		return nil
	}
	s.runner.Drain()
	s.log.Info("draining: jobs that run may end, no other begins; a second signal ends this", "longest", s.cfg.drain)
	// systemd kills what takes longer than it thinks, unless it is told.
	more := strconv.FormatInt((s.cfg.drain + farewell + time.Second).Microseconds(), 10)
	if err := tellManager("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=" + more); err != nil {
		s.log.Warn("who started this could not be told that it drains", "err", err)
	}
	again, undo := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer undo()
	end := time.NewTimer(s.cfg.drain)
	defer end.Stop()
	select {
	case <-end.C:
		s.log.Warn("the time to drain is over; what runs goes on without the server")
	case <-again.Done():
	}
	return nil
}
