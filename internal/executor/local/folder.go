package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// folder is the state of one sandbox on disk.
//
//	<name>                 a link to another, when that one was made ahead and is the job's now
//	<name>.lock            held by who makes, finds or removes the sandbox
//	<name>/sandbox.json    the record, one line for each time that it changed
//	<name>/agent.sock      where the agent listens
//	<name>/agent.log       what the agent had to say before it died
//	<name>/src, tmp        the source tree (one level down in a sandbox) and temporary files
//	<name>/home, bin       with isolation none: HOME and the tools
//	<name>/root            where the sandbox's "/" is put together, in memory
//	<name>/upper, work     what overlays write
//	<name>/run             of gVisor: the agent's socket and output files, shared with it
type folder struct {
	root, name string
}

// folderOf is where the job's sandbox is. Job names may be long and hold
// anything, so the folder has a hash for a name; the record tells whose it is.
func folderOf(root string, job ci.JobID) folder {
	sum := sha256.Sum256([]byte(job))
	return folder{root: root, name: hex.EncodeToString(sum[:8])}
}

func (f folder) path(parts ...string) string {
	return filepath.Join(append([]string{f.root, f.name}, parts...)...)
}

// real is the folder that f leads to: itself, or one that was made ahead.
func (f folder) real() folder {
	if name, err := os.Readlink(f.path()); err == nil && name == filepath.Base(name) {
		f.name = name
	}
	return f
}

func (f folder) leadsTo(other folder) bool { return f.real() == other }

// group names the sandbox's cgroups: machine-wide, so the state folder counts.
func (f folder) group() string {
	sum := sha256.Sum256([]byte(f.path()))
	return hex.EncodeToString(sum[:8])
}

func (f folder) socket() string { return f.path("agent.sock") }

// record is sandbox.json.
type record struct {
	Version   int       `json:"version"`
	Job       ci.JobID  `json:"job"`
	Isolation string    `json:"isolation"`
	Process   process   `json:"process,omitzero"` // the agent; of gVisor, runsc's supervisor
	Ready     bool      `json:"ready"`            // Open returned it once
	Dirs      ci.Dirs   `json:"dirs"`
	Placed    ci.Placed `json:"placed"`
	Groups    groups    `json:"groups,omitzero"`
	Maps      *idMaps   `json:"maps,omitempty"`   // when files may belong to subordinate users
	Single    bool      `json:"single,omitempty"` // only one user exists in it
}

const recordVersion = 1

// write appends the record as a line; the last whole line is the one that
// counts. So a reader or a crash never meets half of one, and nothing has to be
// freed on disk, which some file systems are slow at.
func (f folder) write(r *record) error {
	r.Version = recordVersion
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record of the sandbox: %w", err)
	}
	file, err := os.OpenFile(f.path("sandbox.json"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the sandbox's record: %w", err)
	}
	_, err = file.Write(append(data, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the sandbox's record: %w", err)
	}
	return nil
}

func (f folder) read() (*record, error) {
	data, err := os.ReadFile(f.path("sandbox.json"))
	if err != nil {
		return nil, fmt.Errorf("read the sandbox's record: %w", err)
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	data = bytes.TrimSuffix(data, []byte("\n"))
	r := &record{}
	if err := json.Unmarshal(data[bytes.LastIndexByte(data, '\n')+1:], r); err != nil {
		return nil, fmt.Errorf("read the sandbox's record %s: %w", f.path("sandbox.json"), err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("the sandbox's record %s has version %d, want %d: %w", f.path("sandbox.json"), r.Version, recordVersion, ci.ErrInvalid)
	}
	return r, nil
}

// lock waits for the sandbox's lock. It is kept by the open file, so it ends
// with the process however that ends. Unlocking removes the lock file when the
// sandbox is gone.
func (f folder) lock(ctx context.Context) (unlock func(), err error) {
	unlock, ok, err := f.tryLock()
	if ok || err != nil {
		return unlock, err
	}
	type answer struct {
		unlock func()
		err    error
	}
	got := make(chan answer, 1)
	go func() {
		unlock, _, err := f.flock(unix.LOCK_EX)
		got <- answer{unlock, err}
	}()
	select {
	case a := <-got:
		return a.unlock, a.err
	case <-ctx.Done():
		// flock cannot be called off: who gets the lock when nobody wants it any more gives it back.
		go func() {
			if a := <-got; a.err == nil {
				a.unlock()
			}
		}()
		return nil, fmt.Errorf("wait for the lock of the sandbox: %w", context.Cause(ctx))
	}
}

// removeStaleLock removes the lock of a sandbox that is gone: whoever removed that
// was killed before the lock could go, too.
func (f folder) removeStaleLock() error {
	if _, err := os.Lstat(f.path()); !errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, ok, err := f.tryLock()
	if ok {
		unlock() // which removes it, unless the sandbox is there by now
	}
	return err
}

func (f folder) tryLock() (unlock func(), ok bool, err error) {
	return f.flock(unix.LOCK_EX | unix.LOCK_NB)
}

func (f folder) flock(how int) (unlock func(), ok bool, err error) {
	path := f.path() + ".lock"
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, false, fmt.Errorf("lock the sandbox: %w", err)
		}
		for {
			err = unix.Flock(int(file.Fd()), how)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			_ = file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, false, nil
			}
			return nil, false, fmt.Errorf("lock %s: %w", path, err)
		}
		if !sameFile(file, path) { // its last holder removed it meanwhile
			_ = file.Close()
			continue
		}
		return func() {
			if _, err := os.Lstat(f.path()); errors.Is(err, os.ErrNotExist) {
				_ = os.Remove(path)
			}
			// Said, because a process that is being forked at this moment holds a copy
			// of the open file until it has become another program.
			_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
			_ = file.Close()
		}, true, nil
	}
}

func sameFile(file *os.File, path string) bool {
	a, err := file.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
