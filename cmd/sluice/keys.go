package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// keys reads the keyboard in a way that can be ended: a plain read of standard
// input would swallow the first key after the shell is left.
type keys struct {
	in   *os.File
	wake [2]*os.File
}

func newKeys(in *os.File) (*keys, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("read the keyboard: %w", err)
	}
	return &keys{in: in, wake: [2]*os.File{r, w}}, nil
}

// Read waits for keys; EOF once stop was called.
func (k *keys) Read(p []byte) (int, error) {
	for {
		fds := []unix.PollFd{
			{Fd: int32(k.in.Fd()), Events: unix.POLLIN},
			{Fd: int32(k.wake[0].Fd()), Events: unix.POLLIN},
		}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("read the keyboard: %w", err)
		case fds[1].Revents != 0:
			return 0, io.EOF
		case fds[0].Revents != 0:
			return k.in.Read(p)
		}
	}
}

// stop ends a Read that waits, and all later ones.
func (k *keys) stop() { _ = k.wake[1].Close() }
