package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
)

func newTop() *cobra.Command {
	var r remote
	var asJSON, once bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use: "top", Short: "Watch what a server runs, what waits for what, and how full it is", Args: cobra.NoArgs,
		Long: `Top shows what runs on a server and where, what waits and for what, and how much of its
processors and memory is taken, as a whole and by project. On a terminal it goes on
until q or Ctrl-C is typed; elsewhere, and with --once or --json, it shows that once.`,
		Example: "  sluice top\n  sluice top --interval 5s\n  sluice top --once\n  sluice top --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if interval < 200*time.Millisecond || interval > time.Hour {
				return usagef("--interval %s: want 200ms to 1h", interval)
			}
			l, err := c.Load(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, l)
			}
			out, isFile := cmd.OutOrStdout().(*os.File)
			terminal := isFile && term.IsTerminal(int(out.Fd())) && term.IsTerminal(int(os.Stdin.Fd()))
			colour := show.Colours(terminal, os.LookupEnv)
			if name := os.Getenv("TERM"); !terminal || once || name == "" || name == "dumb" {
				_, err := io.WriteString(cmd.OutOrStdout(), drawTop(l, topLook{}))
				return err
			}
			w := &topWatch{in: os.Stdin, out: out, colour: colour, interval: interval, read: c.Load, load: l}
			return w.run(ctx)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.DurationVar(&interval, "interval", time.Second, "how often to look, on a terminal")
	fs.BoolVar(&once, "once", false, "show it once, also on a terminal")
	fs.BoolVar(&asJSON, "json", false, "print it once as JSON")
	r.register(fs)
	return cmd
}

// topWatch is the live view.
type topWatch struct {
	in, out  *os.File
	colour   bool
	interval time.Duration
	read     func(context.Context) (client.Load, error)

	load client.Load
	err  error // of the last look, which is shown and tried again
}

// Sequences of the terminal: the other screen, and back, without the cursor.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	topLeft     = "\x1b[H"
	clearRight  = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// run shows it until somebody has enough. The terminal is then as it was,
// whatever ended it.
func (w *topWatch) run(ctx context.Context) (err error) {
	ctx, undo := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	defer undo()
	before, err := term.MakeRaw(int(w.in.Fd()))
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	defer func() {
		_, also := io.WriteString(w.out, leaveScreen)
		err = errors.Join(err, also, term.Restore(int(w.in.Fd()), before))
	}()
	if _, err := io.WriteString(w.out, enterScreen); err != nil {
		return err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	enough := make(chan struct{})
	go w.listen(sync.OnceFunc(func() { close(enough) })) // ends with the process: a read of a terminal cannot be taken back

	looks, stop := w.looks(ctx)
	defer stop()
	for {
		if err := w.draw(); err != nil {
			return err
		}
		select {
		case <-enough:
			return nil
		case <-ctx.Done():
			return nil
		case <-resized:
		case l := <-looks:
			if w.err = l.err; l.err == nil {
				w.load = l.load
			}
		}
	}
}

// listen waits for q, Ctrl-C or the end of the terminal.
func (w *topWatch) listen(enough func()) {
	buf := make([]byte, 64)
	for {
		n, err := w.in.Read(buf)
		for _, key := range buf[:n] {
			if key == 'q' || key == 'Q' || key == 3 || key == 4 { // Ctrl-C and Ctrl-D, which a raw terminal hands on
				enough()
				return
			}
		}
		if err != nil {
			enough()
			return
		}
	}
}

// look is what one question brought.
type look struct {
	load client.Load
	err  error
}

// looks asks again and again, beside the drawing: a server that does not answer
// holds up no key. The answer's second part ends it and waits for that.
func (w *topWatch) looks(ctx context.Context) (<-chan look, func()) {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan look)
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(w.interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			var l look
			l.load, l.err = w.read(ctx)
			select {
			case out <- l:
			case <-ctx.Done():
				return
			}
		}
	})
	return out, func() {
		cancel()
		work.Wait()
	}
}

// draw shows the last look on the whole screen.
func (w *topWatch) draw() error {
	width, height, err := term.GetSize(int(w.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	_, err = io.WriteString(w.out, topLeft+drawTop(w.load, topLook{width: width, height: height, colour: w.colour, err: w.err, live: true}))
	return err
}
