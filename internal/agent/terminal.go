package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// lastScreen is how long a terminal shows what comes after its shell has ended,
// when a process in the background still holds it.
const lastScreen = 100 * time.Millisecond

// Terminal runs an interactive shell on a pseudo-terminal; see ci.Interactive.
func (c *Client) Terminal(ctx context.Context, t ci.Terminal) (ci.Exit, error) {
	run := terminalRun{Shell: t.Shell, Env: t.Env, User: t.User, Session: t.Session}
	k, err := c.open(ctx, request{Op: opTerminal, Terminal: &run})
	if err != nil {
		return ci.Exit{}, fmt.Errorf("open a terminal: %w", err)
	}
	defer k.close()
	ended := make(chan struct{})
	defer close(ended)
	go k.feed(t, ended) // a read from t.In cannot be taken back: it may outlive the terminal by one key
	res, err := k.receive(t.Out)
	if err != nil {
		return ci.Exit{}, fmt.Errorf("terminal: %w", err)
	}
	if res.Exit == nil {
		return ci.Exit{}, fmt.Errorf("terminal: the agent gave no result: %w", ci.ErrUnavailable)
	}
	return *res.Exit, nil
}

// feed sends input and window sizes as they come.
func (k *call) feed(t ci.Terminal, ended <-chan struct{}) {
	input := make(chan []byte)
	go func() {
		defer close(input)
		for {
			buf := make([]byte, 4<<10)
			n, err := t.In.Read(buf)
			if n > 0 {
				select {
				case input <- buf[:n]:
				case <-ended:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	sizes := t.Size
	for {
		var err error
		select {
		case data, ok := <-input:
			if !ok {
				input = nil
				err = k.write(frameEnd, nil)
				break
			}
			_, err = k.Write(data)
		case size, ok := <-sizes:
			if !ok {
				sizes = nil
				break
			}
			err = k.writeJSON(frameSize, size)
		case <-ended:
			return
		}
		if err != nil {
			return
		}
	}
}

// terminal is the agent's side: one shell, joined to the connection until it
// ends. A client that goes away hangs the terminal up.
func (a *agent) terminal(w *wire, t terminalRun) (ci.Exit, error) {
	s, err := a.setup(t.User, t.Session, "", t.Shell, t.Env)
	if err != nil {
		return ci.Exit{}, fmt.Errorf("%w: %w", err, ci.ErrInvalid)
	}
	folder, err := a.scripts.folder()
	if err != nil {
		return ci.Exit{}, err
	}
	defer folder.remove()
	argv, err := folder.interactive(&s)
	if err != nil {
		return ci.Exit{}, err
	}
	master, tty, err := openTerminal()
	if err != nil {
		return ci.Exit{}, fmt.Errorf("open a pseudo-terminal (is /dev/pts mounted in the sandbox?): %w", err)
	}
	defer func() { _ = master.Close() }()
	_ = tty.Chown(int(s.who.uid), int(s.who.gid))
	attr := s.attr(tty)
	attr.Files[0] = tty.Fd()
	attr.Sys.Setctty = true
	ends := make(chan ending, 1)
	pid, err := a.procs.start(s.shell, argv, attr, func(ws unix.WaitStatus, ru unix.Rusage) { ends <- ending{ws, ru} })
	_ = tty.Close()
	if err != nil {
		return ci.Exit{}, s.explain(err)
	}
	go func() { // ends with the connection, which serve's caller closes
		typed(w, master)
		a.procs.signalGroup(pid, unix.SIGHUP)
		_ = master.Close()
	}()
	shown := make(chan struct{})
	go func() { // ends with the master
		defer close(shown)
		_, _ = io.CopyBuffer(onlyWriter{w}, onlyReader{master}, make([]byte, 32<<10))
	}()
	end := <-ends
	a.procs.hangUp(pid)
	// What is on the screen's way still comes; a process in the background that
	// keeps the terminal open must not keep the client.
	_ = master.SetReadDeadline(time.Now().Add(lastScreen))
	<-shown
	return end.exit(), nil
}

// openTerminal opens a pseudo-terminal. Its master may be read with a deadline
// and closed while it is read, which the library's own may not.
func openTerminal() (master, tty *os.File, err error) {
	blocking, tty, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = blocking.Close() }()
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		_ = tty.Close()
		return nil, nil, err
	}
	_ = unix.SetNonblock(fd, true) // of a descriptor that is open it does not fail
	return os.NewFile(uintptr(fd), blocking.Name()), tty, nil
}

// resize tells a terminal how large it is, without making it blocking again.
func resize(master *os.File, cols, rows uint16) error {
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows})
	})
	return errors.Join(err, refused)
}

// typed passes input and sizes from the client to the terminal until the client
// goes away.
func typed(w *wire, master *os.File) {
	for {
		kind, size, err := w.next()
		if err != nil {
			return
		}
		switch kind {
		case frameData:
			if _, err := io.CopyN(onlyWriter{master}, w.r, int64(size)); err != nil {
				return
			}
		case frameEnd:
			_, _ = master.Write([]byte{4}) // end of file, as a person types it
		case frameSize:
			data := make([]byte, size)
			if _, err := io.ReadFull(w.r, data); err != nil {
				return
			}
			var wh [2]uint16
			if json.Unmarshal(data, &wh) == nil {
				_ = resize(master, wh[0], wh[1])
			}
		default:
			return
		}
	}
}

// interactive is the argv of a shell that first takes the session's plain
// variables.
func (f *folder) interactive(s *setup) ([]string, error) {
	argv := []string{s.shell, "-i"}
	if len(s.plain) == 0 {
		return argv, nil
	}
	text := assignments(s.plain)
	bash := strings.HasPrefix(filepath.Base(s.shell), "bash")
	if bash {
		text = "if [ -r ~/.bashrc ]; then . ~/.bashrc; fi\n" + text
		argv = []string{s.shell, "--rcfile", f.vars(), "-i"}
	} else {
		text += "unset ENV\n"
		s.env = merge(s.env, []string{"ENV=" + f.vars()})
	}
	if err := f.lay(map[string]string{f.vars(): text}, s.who); err != nil {
		return nil, errors.Join(err, errors.New("open a terminal without the session's variables instead"))
	}
	return argv, nil
}

// hangUp lets go of the terminal's other processes when its shell has ended, as
// a terminal that is closed does.
func (r *reaper) hangUp(pid int) {
	for _, p := range members(pid) {
		_ = unix.Kill(p, unix.SIGHUP)
		_ = unix.Kill(p, unix.SIGCONT)
	}
}
