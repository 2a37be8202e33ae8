package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-ci/sluice/internal/ci"
)

// onSignals stops the build when the user or the machine wants it: the first
// signal cancels it, the second ends everything of it at once, the third ends
// this process as it stands. A reader that went away (SIGPIPE) cancels it too, or
// a build would be left behind by `sluice run | head`. The answer ends the watch.
func (s *session) onSignals(ctx context.Context) (undo func()) {
	got := make(chan os.Signal, 3)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; {
			select {
			case sig := <-got:
				if sig == syscall.SIGPIPE && n > 0 {
					continue // every further line brings one
				}
				n++
			case <-done:
				return
			}
			switch n {
			case 1:
				if err := s.engine.Cancel(context.WithoutCancel(ctx), s.id, ci.ErrCanceled); err != nil {
					s.warn("cancel: " + err.Error())
				}
			case 2:
				s.placer.killAll(context.WithoutCancel(ctx))
			default:
				os.Exit(exitCanceled)
			}
		}
	}()
	return func() {
		signal.Stop(got)
		close(done)
		<-ended
	}
}
