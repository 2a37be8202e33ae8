package main

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/internal/ci"
)

// screen is where the build is shown: text or events on standard output.
type screen struct {
	feed *show.Feed
	text *show.Text // nil with --json
	json *show.JSON
	live bool // a spinner is wanted
}

func newScreen(f *runFlags, _ environment, hide func(string) string) *screen {
	s := &screen{feed: &show.Feed{}}
	if f.json {
		s.json = show.NewJSON(os.Stdout, time.Now)
		s.feed.Screen = s.json
		return s
	}
	fd := int(os.Stdout.Fd())
	terminal := term.IsTerminal(fd)
	name, _ := os.LookupEnv("TERM")
	s.live = terminal && name != "dumb" && name != "" && !f.quiet
	s.text = show.NewText(os.Stdout, show.Look{
		Terminal: s.live, Quiet: f.quiet, Hide: hide,
		Colour: show.Colours(terminal, os.LookupEnv),
		Width: func() int {
			if !terminal {
				return 0
			}
			w, _, err := term.GetSize(fd)
			if err != nil {
				return 80
			}
			return w
		},
	})
	s.feed.Screen = s.text
	return s
}

// run shows the build until it is over.
func (s *screen) run(ctx context.Context, follow func(context.Context, func(ci.Event) bool) error, logs show.Tailer) error {
	s.feed.Logs = logs
	if !s.live {
		return s.feed.Run(ctx, follow)
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(120 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.feed.Exclusively(s.text.Tick)
			case <-stop:
				return
			}
		}
	})
	err := s.feed.Run(ctx, follow)
	close(stop)
	work.Wait()
	return err
}

// suspend makes room for others to write to the terminal.
func (s *screen) suspend() {
	if s.text != nil {
		s.text.Suspend()
	}
}

func (s *screen) summary(ctx context.Context, e show.Ending) {
	if s.text != nil {
		s.text.Summary(ctx, e)
	}
}

func (s *screen) err() error {
	if s.text != nil {
		return s.text.Err()
	}
	return s.json.Err()
}
