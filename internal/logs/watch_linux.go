package logs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher tells of changes to logs that other processes write, by inotify. One
// serves all readers of a store: the kernel allows few instances.
type watcher struct {
	f       *os.File
	changed func(base string)
	done    chan struct{}

	mu   sync.Mutex
	dirs map[int32]*watched // by watch descriptor, which the kernel does not use again
}

type watched struct {
	dir  string
	refs int
}

func newWatcher(changed func(base string)) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify (raise fs.inotify.max_user_instances?): %w", err)
	}
	w := &watcher{
		f: os.NewFile(uintptr(fd), "inotify"), changed: changed, done: make(chan struct{}),
		dirs: map[int32]*watched{},
	}
	go w.run()
	return w, nil
}

// add watches the files in a directory until undo is called. The kernel is asked
// each time, because the directory of that name may be another one by now.
func (w *watcher) add(dir string) (undo func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int
	err = w.control(func(fd int) (err error) {
		n, err = unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE|unix.IN_ONLYDIR)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inotify of %s (raise fs.inotify.max_user_watches?): %w", dir, err)
	}
	wd := int32(n)
	d := w.dirs[wd]
	if d == nil {
		d = &watched{dir: dir}
		w.dirs[wd] = d
	}
	d.refs++
	return func() { w.remove(wd, d) }, nil
}

func (w *watcher) remove(wd int32, d *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.refs--; d.refs > 0 || w.dirs[wd] != d {
		return
	}
	delete(w.dirs, wd)
	// An error means that the directory, and the watch with it, is gone already.
	_ = w.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(wd))
		return err
	})
}

func (w *watcher) control(f func(fd int) error) error {
	c, err := w.f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// run reads events until the watcher is closed.
func (w *watcher) run() {
	defer close(w.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return // closed; inotify has no other
		}
		for _, base := range w.names(buf[:n]) {
			w.changed(base)
		}
	}
}

// names gives the logs that the events are about; "" means all, when the kernel
// had to drop events.
func (w *watcher) names(b []byte) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:size], "\x00"))
		mask := binary.NativeEndian.Uint32(b[4:])
		b = b[size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			out = append(out, "")
		}
		d := w.dirs[wd]
		if d == nil {
			continue
		}
		if mask&unix.IN_IGNORED != 0 { // the directory is gone, and this watch with it
			delete(w.dirs, wd)
		}
		base := strings.TrimSuffix(strings.TrimSuffix(name, logSuffix), indexSuffix)
		if path := filepath.Join(d.dir, base); len(out) == 0 || out[len(out)-1] != path {
			out = append(out, path)
		}
	}
	return out
}

// Close ends the watch and waits for its goroutine.
func (w *watcher) Close() error {
	err := w.f.Close()
	<-w.done
	return err
}
