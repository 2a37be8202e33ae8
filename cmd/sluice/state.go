package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// stateHome is the folder that outlives builds: sandboxes while they live, the
// mirrors of git repositories, caches.
func stateHome(lookup func(string) (string, bool)) (string, error) {
	if dir, ok := lookup("SLUICE_HOME"); ok && dir != "" {
		return filepath.Abs(dir)
	}
	if dir, ok := lookup("XDG_CACHE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "sluice"), nil
	}
	if dir, ok := lookup("HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, ".cache", "sluice"), nil
	}
	return "", usagef("there is no folder to keep state in: set SLUICE_HOME, or HOME")
}

// held is what is known of the sandbox of a job while it lives, so that another
// process can enter it, and of one that was kept.
type held struct {
	Job      ci.JobID   `json:"job"`
	Executor string     `json:"executor"`
	Runtime  ci.Runtime `json:"runtime"`
	Shell    string     `json:"shell,omitempty"`
	User     string     `json:"user,omitempty"`
	Session  string     `json:"session,omitempty"`
	Kept     bool       `json:"kept,omitempty"`
	Source   string     `json:"source"`
	Since    time.Time  `json:"since"`
	Why      string     `json:"why,omitempty"`
}

// registry knows which builds of this user live and which sandboxes were kept:
// a folder a build, with a lock that its process holds, and a file a sandbox.
type registry struct {
	dir string
}

func newRegistry(home string) *registry { return &registry{dir: filepath.Join(home, "builds")} }

// claim is the mark of a live build. It ends with the process.
type claim struct {
	r    *registry
	id   ci.BuildID
	lock *os.File
}

func (r *registry) folder(id ci.BuildID) string { return filepath.Join(r.dir, string(id)) }

func (r *registry) claim(id ci.BuildID) (*claim, error) {
	if err := os.MkdirAll(r.folder(id), 0o700); err != nil {
		return nil, fmt.Errorf("mark build %s as live: %w", id, err)
	}
	f, err := os.OpenFile(filepath.Join(r.folder(id), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("mark build %s as live: %w", id, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("mark build %s as live: %w", id, err)
	}
	return &claim{r: r, id: id, lock: f}, nil
}

// release ends the mark. What was kept of the build stays known.
func (c *claim) release() error {
	kept, err := c.r.of(c.id)
	if err == nil && len(kept) == 0 {
		err = os.RemoveAll(c.r.folder(c.id))
	}
	return errors.Join(err, c.lock.Close())
}

// note writes down a sandbox, so that it can be entered.
func (c *claim) note(h held) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	name := c.r.file(h.Job)
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return fmt.Errorf("note sandbox of %s: %w", h.Job, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("note sandbox of %s: %w", h.Job, err)
	}
	return nil
}

func (r *registry) file(job ci.JobID) string {
	_, name, _ := strings.Cut(string(job), "/")
	return filepath.Join(r.folder(job.Build()), url.PathEscape(name)+".json")
}

// of lists the sandboxes of a build that are to outlive it.
func (r *registry) of(id ci.BuildID) ([]held, error) {
	all, err := r.read(id)
	var kept []held
	for _, h := range all {
		if h.Kept {
			kept = append(kept, h)
		}
	}
	return kept, err
}

func (r *registry) read(id ci.BuildID) ([]held, error) {
	names, err := filepath.Glob(filepath.Join(r.folder(id), "*.json"))
	if err != nil {
		return nil, err
	}
	var all []held
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var h held
		if err == nil {
			err = json.Unmarshal(data, &h)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w; remove the file", name, err)
		}
		all = append(all, h)
	}
	return all, nil
}

// all lists every sandbox that can be entered, the newest first.
func (r *registry) all() ([]held, error) {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var all []held
	for _, e := range entries {
		id := ci.BuildID(e.Name())
		hs, err := r.read(id)
		if err != nil {
			return nil, err
		}
		alive := r.alive(id)
		for _, h := range hs {
			if h.Kept || alive {
				all = append(all, h)
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Since.After(all[j].Since) })
	return all, nil
}

// alive says whether a process holds the mark of the build.
func (r *registry) alive(id ci.BuildID) bool {
	f, err := os.Open(filepath.Join(r.folder(id), "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// owned says whether somebody still wants the sandbox of a job: its build lives,
// or it was kept.
func (r *registry) owned(job ci.JobID) bool {
	if r.alive(job.Build()) {
		return true
	}
	data, err := os.ReadFile(r.file(job))
	var h held
	return err == nil && json.Unmarshal(data, &h) == nil && h.Kept
}

// forget removes what is known of a kept sandbox.
func (r *registry) forget(job ci.JobID) error {
	if err := os.Remove(r.file(job)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget sandbox of %s: %w", job, err)
	}
	return r.tidy(job.Build())
}

// tidy removes the folder of a build that is dead and of which nothing was kept.
func (r *registry) tidy(id ci.BuildID) error {
	if r.alive(id) {
		return nil
	}
	kept, err := r.of(id)
	if err != nil || len(kept) > 0 {
		return err
	}
	return os.RemoveAll(r.folder(id))
}

// tidyAll does so for all builds.
func (r *registry) tidyAll() {
	entries, _ := os.ReadDir(r.dir) // nothing to tidy where nothing can be read
	for _, e := range entries {
		_ = r.tidy(ci.BuildID(e.Name()))
	}
}
