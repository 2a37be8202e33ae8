package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/agent"
)

// Argv0 is the name under which the sluice binary is the first process of a
// sandbox: main calls Main at once when the base of argv[0] is this.
const Argv0 = "sluice-sandbox"

// Descriptors that the first process inherits.
const (
	orderFD  = 3
	reportFD = 4
	socketFD = 5
	hostFD   = 6 // when there is a view of the host
)

// stageTwo is the argument of a first process that has its root already.
const stageTwo = "confined"

// Main is the first process of a sandbox: it makes the sandbox's file system out
// of the namespaces that it was started in, gives up what a build must not have,
// and becomes the agent. It returns the exit code when the sandbox has ended.
func Main() int {
	if len(os.Args) > 1 && os.Args[1] == inGVisor {
		return agent.Main([]string{runDir + "/agent.json"})
	}
	for _, fd := range []int{orderFD, reportFD, socketFD, hostFD} {
		syscall.CloseOnExec(fd) // or every command of the build would have them
	}
	answer := os.NewFile(reportFD, "report")
	var r report
	o, err := readOrder()
	if err == nil {
		err = o.run(&r, answer)
	}
	if err != nil {
		r.Error, r.Full = err.Error(), errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
		_ = json.NewEncoder(answer).Encode(&r)
		fmt.Fprintln(os.Stderr, "sluice-sandbox:", err)
		return 1
	}
	return 0
}

// readOrder waits for the order. None comes when who started this has died, and
// then nothing has happened yet.
func readOrder() (*order, error) {
	file := os.NewFile(orderFD, "order")
	defer func() { _ = file.Close() }()
	o := &order{}
	if err := json.NewDecoder(file).Decode(o); err != nil {
		return nil, fmt.Errorf("read the order: %w", err)
	}
	return o, nil
}

func (o *order) run(r *report, answer *os.File) error {
	switch {
	case o.Op == opRemove:
		if err := removeTree(o.Folder); err != nil {
			return err
		}
		return json.NewEncoder(answer).Encode(r)
	case len(os.Args) > 1 && os.Args[1] == stageTwo:
		// The first stage has done it all but this, which does not outlive an exec.
		if err := hideFromBuild(); err != nil {
			return err
		}
	default:
		if err := o.prepare(r); err != nil {
			return err
		}
		if err := json.NewEncoder(answer).Encode(r); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		switch o.Isolation {
		case GVisor:
			return o.superviseGVisor(answer)
		case Sandboxed:
			if err := o.confine(r); err != nil {
				return err
			}
		}
	}
	return o.serve(answer)
}

// prepare makes the place that the agent will stand in.
func (o *order) prepare(r *report) error {
	if err := unix.Chdir(o.Folder); err != nil {
		return &os.PathError{Op: "enter", Path: o.Folder, Err: err}
	}
	if o.Isolation == Plain {
		return o.preparePlain()
	}
	unix.Umask(0)
	if err := o.openSpool(); err != nil {
		return err
	}
	if err := os.Mkdir("src/src", 0o755); err != nil {
		return err
	}
	if err := o.buildRoot(r); err != nil {
		return err
	}
	unix.Umask(0o022)
	if o.Isolation == GVisor {
		return nil
	}
	if o.Network == "none" {
		if err := raiseLoopback(); err != nil {
			return err
		}
	}
	if o.Processes > 0 {
		limit := unix.Rlimit{Cur: uint64(o.Processes), Max: uint64(o.Processes)}
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &limit); err != nil {
			return fmt.Errorf("limit the number of processes: %w", err)
		}
	}
	return nil
}

// openSpool keeps the sandbox's folder open as the place for output files,
// because it is outside of the new root: no build can fill, empty or replace it.
func (o *order) openSpool() error {
	fd, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: o.Folder, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	// Beyond the inherited descriptors: a second stage gets its order in the place
	// of the first, which is free by now.
	o.Spool, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, hostFD+1)
	if err != nil {
		return &os.PathError{Op: "keep open", Path: o.Folder, Err: err}
	}
	return nil
}

func (o *order) preparePlain() error {
	for _, d := range []string{o.Dirs.Source, o.Dirs.Home, o.Dirs.Temp, "bin"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(o.Dirs.Temp, 0o777|os.ModeSticky); err != nil {
		return err
	}
	for _, t := range append([]string{"sluice"}, o.Tools...) {
		if err := os.Symlink(o.Exe, "bin/"+t); err != nil {
			return err
		}
	}
	return unix.Chdir("/")
}

// serve is the rest of the sandbox's life.
func (o *order) serve(ready *os.File) error {
	// Few threads made confining cheap; from here on all processors may be used.
	runtime.SetDefaultGOMAXPROCS()
	socket := os.NewFile(socketFD, "socket")
	l, err := net.FileListener(socket)
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	_ = socket.Close()
	spool := o.Folder
	if o.Spool > 0 {
		spool = "/proc/self/fd/" + strconv.Itoa(o.Spool)
	}
	// It outlives who started it, also when that one's terminal goes away; and
	// Notify, because what is ignored would be ignored by every command too.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return agent.Serve(ctx, agent.Config{
		Listener: l, Dirs: o.Dirs, Spool: spool, Env: o.Env, Ready: ready, Reserve: reserveThreads, OOMEvents: o.OOMEvents,
	})
}

// reserved is how many threads the agent has in hand, and agentThreads how many
// it may come to have: the limit of processes is the build's, and so these come
// on top.
const (
	reserved     = 8
	agentThreads = 24
)

// reserveThreads makes threads before a build can take all that the process limit
// allows: a Go program that needs another one then and does not get it dies.
func reserveThreads() {
	var there, done sync.WaitGroup
	release := make(chan struct{})
	for range reserved {
		there.Add(1)
		done.Go(func() {
			runtime.LockOSThread() // each stays on a thread of its own while all are here
			defer runtime.UnlockOSThread()
			there.Done()
			<-release
		})
	}
	there.Wait()
	close(release)
	done.Wait()
}

// raiseLoopback brings up "lo" of an otherwise empty network.
func raiseLoopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up the loopback network: %w", err)
	}
	defer func() { _ = unix.Close(s) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring up the loopback network: %w", err)
	}
	return nil
}
