package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/agent"
	"github.com/sluice-ci/sluice/internal/ci"
)

// Sandbox is one job's container. It is a ci.Sandbox and a ci.Interactive.
type Sandbox struct {
	*agent.Client
	exec   *Executor
	id     string // the engine's
	name   string
	folder string // with Bind: on this machine; "" = none
	placed ci.Placed
	fresh  bool
	byExec atomic.Bool // the agent is reached through an exec
	closed atomic.Bool
	spare  spares
}

func (e *Executor) sandbox(id, name, files, folder string, placed ci.Placed) *Sandbox {
	s := &Sandbox{exec: e, id: id, name: name, folder: folder, placed: placed}
	s.Client = &agent.Client{Dial: s.dial}
	s.byExec.Store(files != Bind || folder == "")
	return s
}

// removeFolder removes what the container had of this machine's file system. What
// cannot be removed now is left to Sweep.
func (s *Sandbox) removeFolder() {
	if s.folder != "" {
		_ = os.RemoveAll(s.folder)
	}
}

// Container is the container's name, for `docker exec`.
func (s *Sandbox) Container() string { return s.name }

// Fresh says that this Open made it.
func (s *Sandbox) Fresh() bool { return s.fresh }

// Placed says where this is.
func (s *Sandbox) Placed() ci.Placed { return s.placed }

// Dirs are those of every container.
func (s *Sandbox) Dirs() ci.Dirs { return dirs() }

// Start runs a command or finds it; see ci.Sandbox.
func (s *Sandbox) Start(ctx context.Context, c ci.Command) (ci.Process, error) {
	if s.byExec.Load() {
		s.spare.fill(ctx, s.dialExec)
	}
	p, err := s.Client.Start(ctx, c)
	if err != nil {
		return nil, s.lost(ctx, err)
	}
	return &process{Process: p, s: s}, nil
}

// Put unpacks a tar; see ci.Sandbox.
func (s *Sandbox) Put(ctx context.Context, dir string, tar io.Reader) error {
	return s.lost(ctx, s.Client.Put(ctx, dir, tar))
}

// Get packs files; see ci.Sandbox.
func (s *Sandbox) Get(ctx context.Context, set ci.FileSet, tar io.Writer) (ci.Matched, error) {
	m, err := s.Client.Get(ctx, set, tar)
	return m, s.lost(ctx, err)
}

// Terminal opens a terminal; see ci.Interactive.
func (s *Sandbox) Terminal(ctx context.Context, t ci.Terminal) (ci.Exit, error) {
	x, err := s.Client.Terminal(ctx, t)
	return x, s.lost(ctx, err)
}

// process adds to an error what became of the container.
type process struct {
	ci.Process
	s *Sandbox
}

func (p *process) Wait(ctx context.Context) (ci.Exit, error) {
	x, err := p.Process.Wait(ctx)
	return x, p.s.lost(ctx, err)
}

func (p *process) Stop(ctx context.Context, grace time.Duration) error {
	return p.s.lost(ctx, p.Process.Stop(ctx, grace))
}

// makeDirs makes the working directories that an image lacks. /tmp is left as it
// is where there is one.
func (s *Sandbox) makeDirs(ctx context.Context) error {
	for dir, names := range map[string][]string{"/": workDirs(), "/tmp": nil} {
		t, err := dirsTar(names...)
		if err != nil {
			return err
		}
		if err := s.Client.Put(ctx, dir, t); err != nil {
			return err
		}
	}
	return nil
}

// errEnded says that a container is not running.
var errEnded = fmt.Errorf("the container has ended: %w", ci.ErrUnavailable)

// alive answers nil while the container runs, and else says what became of it.
func (s *Sandbox) alive(ctx context.Context) error {
	found, err := s.exec.find(ctx, s.id)
	switch {
	case err != nil:
		return err
	case found == nil || found.State == nil:
		return fmt.Errorf("%w%s", errEnded, s.lastWords(ctx))
	case found.State.Running, found.State.Status == "created":
		return nil
	case found.State.OOMKilled:
		return fmt.Errorf("%w: out of memory", errEnded)
	}
	return fmt.Errorf("%w: exit status %d%s", errEnded, found.State.ExitCode, s.lastWords(ctx))
}

// lost explains an error of the agent's connection by the container's fate.
func (s *Sandbox) lost(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, ci.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	if s.closed.Load() {
		return fmt.Errorf("the container %s was closed: %w", s.name, err)
	}
	look, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch fate := s.alive(look); {
	case fate == nil:
		return fmt.Errorf("container %s runs, but its agent does not answer: %w", s.name, err)
	case errors.Is(fate, errEnded):
		return fmt.Errorf("container %s is lost: %w", s.name, fate)
	default:
		return fmt.Errorf("container %s is lost with its engine: %w", s.name, fate)
	}
}

// lastWords asks the engine's event log how a container that is gone ended.
func (s *Sandbox) lastWords(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	now := time.Now()
	events := s.exec.api.Events(ctx, client.EventsListOptions{
		Since:   fmt.Sprint(now.Add(-10 * time.Minute).Unix()),
		Until:   fmt.Sprint(now.Unix() + 1),
		Filters: make(client.Filters).Add("container", s.id).Add("type", "container"),
	})
	var said []string
	for {
		select {
		case m := <-events.Messages:
			switch m.Action {
			case "oom":
				said = append(said, "out of memory")
			case "die", "died":
				said = append(said, "exit status "+m.Actor.Attributes["exitCode"]+m.Actor.Attributes["containerExitCode"])
			case "kill":
				said = append(said, "killed from outside")
			}
		case <-events.Err:
			if len(said) == 0 {
				return ""
			}
			return ": " + strings.Join(said, ", ")
		}
	}
}

// Close ends every process in the container. The engine then removes it, which
// nobody has to wait for.
func (s *Sandbox) Close(ctx context.Context) error {
	if s.closed.Swap(true) {
		return nil
	}
	shut, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	defer s.spare.close()
	if err := s.Shutdown(shut); err != nil {
		// No agent to ask: by force, and here one has to wait.
		if err := s.exec.remove(ctx, s.id); err != nil {
			s.closed.Store(false)
			return fmt.Errorf("close container %s: %w", s.name, err)
		}
	}
	s.removeFolder()
	return nil
}

var (
	_ ci.Executor    = (*Executor)(nil)
	_ ci.Sandbox     = (*Sandbox)(nil)
	_ ci.Interactive = (*Sandbox)(nil)
)
