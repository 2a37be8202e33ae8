package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Settings is the JSON that Main reads: Config in words.
type Settings struct {
	Socket    string   `json:"socket"` // path to listen on
	Dirs      ci.Dirs  `json:"dirs"`
	Spool     string   `json:"spool"`
	Scripts   string   `json:"scripts,omitempty"`
	Env       []string `json:"env,omitempty"`
	Cgroup    string   `json:"cgroup,omitempty"`
	OOMEvents string   `json:"oomEvents,omitempty"`

	OwnNetwork bool `json:"ownNetwork,omitempty"`

	// Owner of the socket, where the client is another user than the agent.
	Owner *Owner `json:"owner,omitempty"`

	// ReadyFD is an inherited descriptor for Config.Ready; 0 = none.
	ReadyFD int `json:"readyFD,omitempty"`
	// ReadyFIFO is a named pipe for the same, where no descriptor can be inherited.
	// The waiting side opens it for reading and writing before it starts the agent,
	// and reads. "" = none.
	ReadyFIFO string `json:"readyFIFO,omitempty"`
}

// Owner is a user and a group by number.
type Owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// Main is `sluice agent`: the first process of a container.
//
//	sluice agent CONFIG            serve by the settings in the file CONFIG
//	sluice agent                   the same, settings on descriptor 3
//	sluice agent connect SOCKET    join standard input and output to an agent
//
// The answer is the exit code of the process.
func Main(args []string) int {
	err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sluice agent:", err)
		return 1
	}
	return 0
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "connect":
		return Bridge(context.Background(), args[1], os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] != "connect":
		f, err := os.Open(args[0])
		if err != nil {
			return fmt.Errorf("read the settings: %w", err)
		}
		return serveSettings(f)
	case len(args) == 0:
		return serveSettings(os.NewFile(3, "settings"))
	}
	return errors.New("usage: sluice agent [CONFIG] | sluice agent connect SOCKET")
}

// serveSettings serves until a Shutdown request or SIGTERM. An interrupt typed at
// the terminal is not for the agent, which outlives its client.
func serveSettings(f *os.File) error {
	var s Settings
	err := json.NewDecoder(f).Decode(&s)
	_ = f.Close()
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	l, err := Listen(s.Socket)
	if err != nil {
		return err
	}
	if s.Owner != nil {
		if err := os.Lchown(s.Socket, s.Owner.UID, s.Owner.GID); err != nil {
			return errors.Join(fmt.Errorf("give the socket to its owner: %w", err), l.Close())
		}
	}
	ready, err := s.ready()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// Notify and not Ignore: an ignored signal is inherited by every command.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(ignored)
	return Serve(ctx, Config{
		Listener: l, Dirs: s.Dirs, Spool: s.Spool, Scripts: s.Scripts, Env: s.Env,
		Ready: ready, Cgroup: s.Cgroup, OOMEvents: s.OOMEvents, OwnNetwork: s.OwnNetwork,
	})
}

func (s Settings) ready() (*os.File, error) {
	switch {
	case s.ReadyFD > 0:
		syscall.CloseOnExec(s.ReadyFD)
		return os.NewFile(uintptr(s.ReadyFD), "ready"), nil
	case s.ReadyFIFO != "":
		f, err := os.OpenFile(s.ReadyFIFO, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, syscall.ENXIO) {
			return nil, nil // nobody waits any more
		}
		if err != nil {
			return nil, fmt.Errorf("say that the agent is ready: %w", err)
		}
		return f, nil
	}
	return nil, nil
}

// Bridge joins a stream to an agent's socket, for a client that can reach the
// agent only by running a program beside it. It returns when the agent has
// closed the connection, or ctx ends.
func Bridge(ctx context.Context, socket string, in io.Reader, out io.Writer) error {
	conn, err := Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() { // a read of standard input cannot be taken back: it ends with the process
		_, err := io.Copy(conn, in)
		if c, ok := conn.(*net.UnixConn); ok && err == nil {
			_ = c.Close() // the client is gone, and an operation is nothing without one
		}
	}()
	_, err = io.Copy(out, conn)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}
