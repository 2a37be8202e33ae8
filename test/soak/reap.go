package main

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// reap takes the ends of processes that became children of this one.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

// awaitChild returns when a child has ended, or after a time.
func awaitChild(most time.Duration) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	timer := time.NewTimer(min(most, time.Second)) // others than children may be looked for, too
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}
