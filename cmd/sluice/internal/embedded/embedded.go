// Package embedded holds the small program that stands in sandboxes, when it was
// built into this binary (build tag embedagent; `make build` does).
//
// Invariant: a file it names is whole, whoever else wrote it at the same time.
package embedded

import (
	"errors"
	"os"
	"path/filepath"
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
		return path
	}
	if write(dir, path) != nil {
		return "" // as good, only slower to start
	}
	return path
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
