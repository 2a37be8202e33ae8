//go:build !linux

package logs

import (
	"sync/atomic"
	"time"
)

// watcher tells of changes to logs that other processes write. Without inotify
// it looks a few times a second, as long as a reader waits for another process.
type watcher struct {
	stop, done chan struct{}
	dirs       atomic.Int64
}

func newWatcher(changed func(base string)) (*watcher, error) {
	w := &watcher{stop: make(chan struct{}), done: make(chan struct{})}
	go w.run(changed)
	return w, nil
}

func (w *watcher) run(changed func(base string)) {
	defer close(w.done)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			if w.dirs.Load() > 0 {
				changed("")
			}
		}
	}
}

func (w *watcher) add(string) (undo func(), err error) {
	w.dirs.Add(1)
	return func() { w.dirs.Add(-1) }, nil
}

// Close ends the watch and waits for its goroutine.
func (w *watcher) Close() error {
	close(w.stop)
	<-w.done
	return nil
}
