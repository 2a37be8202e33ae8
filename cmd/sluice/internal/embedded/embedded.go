// Package embedded holds the small program that stands in sandboxes, when it was
// built into this binary (build tag embedagent; `make build` does).
//
// Invariant: a file it names is whole, whoever else wrote it at the same time.
package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Agent gives the path of the program for sandboxes, which it writes below dir
// when it is not there yet. It is "" when this binary itself has to do: none was
// built in, or dir takes none.
func Agent(dir string) string {
	if len(program) == 0 {
		return ""
	}
	path := filepath.Join(dir, "agent-"+sum[:16])
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Size() == int64(len(program)) {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // in use
		return path
	}
	if write(dir, path) != nil {
		return "" // as good, only slower to start
	}
	forget(dir)
	return path
}

// unused is how long the program of another version is kept after its last build
// has begun; it may still run.
const unused = 30 * 24 * time.Hour

// forget removes the programs of versions that nobody uses any more.
func forget(dir string) {
	programs, _ := filepath.Glob(filepath.Join(dir, "agent-*"))
	for _, path := range programs {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > unused {
			_ = os.Remove(path) // the next version tries again
		}
	}
}

// write makes the file under another name first: a name that is there stands for
// a program that is whole.
func write(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".agent-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(program)
	if err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
