package agent

import (
	"bytes"
	"os"
	"strconv"
)

// oomCounter reads how many processes the kernel killed at the memory limit. It
// keeps its file open, so that it works when the path is hidden later. A nil
// counter counts nothing.
type oomCounter struct{ f *os.File }

func openOOM(path string) *oomCounter {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil // no limit there to hit, or a kernel that does not count
	}
	return &oomCounter{f}
}

func (o *oomCounter) count() int {
	if o == nil {
		return 0
	}
	buf := make([]byte, 4096)
	n, _ := o.f.ReadAt(buf, 0)
	for line := range bytes.Lines(buf[:n]) {
		if v, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			count, _ := strconv.Atoi(string(bytes.TrimSpace(v)))
			return count
		}
	}
	return 0
}

func (o *oomCounter) close() {
	if o != nil {
		_ = o.f.Close()
	}
}
