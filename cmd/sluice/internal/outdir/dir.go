package outdir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/filelock"
)

// Names in the directory.
const (
	RecordFile   = "build.json"
	LogFile      = "build.log"
	ArtifactsDir = "artifacts"
	ReportsDir   = "reports"
	stateDir     = "state"
	oldPrefix    = "old-" // in the state: results of an earlier build on their way out
)

// Dir is an output directory that this process alone writes.
type Dir struct {
	path string
	lock *os.File

	clearing sync.WaitGroup
	left     error // what could not be removed; read when clearing is over
}

// Open takes the directory for one build, makes it if it is missing, and removes
// what an earlier build left in it. Two builds at once in one directory are
// refused with ci.ErrConflict.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("output directory %s: %w", path, err)
	}
	d := &Dir{path: abs}
	err = os.MkdirAll(abs, 0o755)
	if err == nil {
		err = os.MkdirAll(d.State(), 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("output directory: %w; choose another with --output", err)
	}
	if err := d.take(); err != nil {
		return nil, err
	}
	if err := d.clear(); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("remove the results of the last build: %w", err)
	}
	// The results are nobody's source: git and everyone who reads .gitignore skip them.
	if err := os.WriteFile(filepath.Join(abs, ".gitignore"), []byte("*\n"), 0o644); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("output directory: %w", err)
	}
	return d, nil
}

func (d *Dir) take() error {
	f, err := os.OpenFile(filepath.Join(d.State(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("output directory: %w", err)
	}
	// A build that was killed a moment ago may have it still.
	patience, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	if err := filelock.Lock(patience, f); err != nil {
		if errors.Is(err, filelock.ErrTaken) {
			return fmt.Errorf("another build writes to %s right now; wait for it or choose another directory with --output: %w", d.path, ci.ErrConflict)
		}
		_ = f.Close()
		return fmt.Errorf("lock output directory %s: %w", d.path, err)
	}
	d.lock = f
	return nil
}

// clear takes away what an earlier build left: first the record that vouches for
// the rest. To move it aside is enough to begin; it is removed beside the build,
// by Close at the latest, or by the next build.
func (d *Dir) clear() error {
	if err := os.RemoveAll(filepath.Join(d.path, RecordFile)); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.State())
	if err != nil {
		return err
	}
	var aside, gone []string
	for _, name := range []string{LogFile, ArtifactsDir, ReportsDir} {
		aside = append(aside, filepath.Join(d.path, name))
	}
	for _, e := range entries {
		path := filepath.Join(d.State(), e.Name())
		switch {
		case e.Name() == "lock", e.Name() == "number":
		case strings.HasPrefix(e.Name(), oldPrefix):
			gone = append(gone, path)
		default:
			aside = append(aside, path)
		}
	}
	old, err := os.MkdirTemp(d.State(), oldPrefix)
	if err != nil {
		return err
	}
	for _, path := range aside {
		err := os.Rename(path, filepath.Join(old, filepath.Base(path)))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(path); err != nil { // it is a mount point, say
			return err
		}
	}
	d.clearing.Go(func() {
		for _, path := range append(gone, old) {
			d.left = errors.Join(d.left, os.RemoveAll(path))
		}
	})
	return nil
}

// Path is the directory, absolute.
func (d *Dir) Path() string { return d.path }

// State is where the journal and the logs of the steps are.
func (d *Dir) State() string { return filepath.Join(d.path, stateDir) }

// Job is the directory that the runner gets for a job's artifacts and reports.
// The only job of a build writes where its results stay; those of a batch are
// brought together by Gather.
func (d *Dir) Job(id ci.JobID, batch bool) string {
	if !batch {
		return d.path
	}
	return filepath.Join(d.State(), "jobs", id.Name())
}

// Number counts the builds of this directory.
func (d *Dir) Number() (int64, error) {
	name := filepath.Join(d.State(), "number")
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("number of the last build: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		n = 0 // a counter that cannot be read counts anew
	}
	n++
	if err := replace(name, []byte(strconv.FormatInt(n, 10)+"\n"), 0o600); err != nil {
		return 0, fmt.Errorf("number of this build: %w", err)
	}
	return n, nil
}

// Gather moves what the jobs of a batch made to artifacts/<job> and
// reports/<job>, and says in the build where it now is.
func (d *Dir) Gather(b *ci.Build) error {
	if !b.Batch {
		return nil
	}
	for i := range b.Jobs {
		j := &b.Jobs[i]
		from := d.Job(j.ID, true)
		for _, kind := range []string{ArtifactsDir, ReportsDir} {
			if err := d.gather(filepath.Join(from, kind), filepath.Join(kind, j.Name)); err != nil {
				return fmt.Errorf("gather the %s of job %s: %w", kind, j.Name, err)
			}
		}
		for k := range j.Artifacts {
			a := &j.Artifacts[k]
			if rest, ok := strings.CutPrefix(a.Path, ArtifactsDir+"/"); ok {
				a.Path = ArtifactsDir + "/" + j.Name + "/" + rest
			}
		}
	}
	return nil
}

func (d *Dir) gather(from, to string) error {
	to = filepath.Join(d.path, to)
	if _, err := os.Lstat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil { // of an earlier attempt of the job
		return err
	}
	return os.Rename(from, to)
}

// Close lets the next build have the directory.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	d.clearing.Wait()
	err := d.lock.Close()
	d.lock = nil
	if d.left != nil {
		err = errors.Join(err, fmt.Errorf("remove the results of an earlier build: %w", d.left))
	}
	return err
}

// replace writes a file whole or not at all.
func replace(name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
