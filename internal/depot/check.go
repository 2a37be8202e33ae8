package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/store"
)

// Kind says what a problem is about.
type Kind string

// Kinds of problems.
const (
	Database Kind = "database" // it does not hold together
	Build    Kind = "build"    // its record cannot be read
	Artifact Kind = "artifact" // missing or damaged
	Log      Kind = "log"      // damaged
	Orphan   Kind = "orphan"   // belongs to no build
)

// Problem is one thing that is wrong.
type Problem struct {
	Kind     Kind       `json:"kind"`
	Build    ci.BuildID `json:"build,omitempty"`
	Name     string     `json:"name,omitempty"` // people's name of the build: PROJECT/NUMBER
	What     string     `json:"what"`
	Key      string     `json:"key,omitempty"`  // of a blob
	Path     string     `json:"path,omitempty"` // of a file or folder
	Repaired bool       `json:"repaired,omitempty"`
}

// Report is what Check found.
type Report struct {
	Schema    int64     `json:"schema"`
	Builds    int       `json:"builds"`
	Artifacts int       `json:"artifacts"`
	Logs      int       `json:"logs"`
	Bytes     int64     `json:"bytes"` // that were read and verified
	Problems  []Problem `json:"problems"`
}

// Open counts the problems that are still there.
func (r *Report) Open() (n int) {
	for _, p := range r.Problems {
		if !p.Repaired {
			n++
		}
	}
	return n
}

type checker struct {
	Report
	p        Place
	snapshot *store.Snapshot
	logs     *logs.Store           // nil = there is none here
	listed   map[string]bool       // keys of blobs that there are
	wanted   map[string]bool       // and that builds speak of
	builds   map[ci.BuildID]string // names
	open     map[ci.BuildID]bool   // builds that are not done: what they have may yet be spoken of
	// expired are the parts that retention, or a deletion under way, took of builds.
	expired map[ci.BuildID]map[string]bool
}

// Check reads all that a server keeps and verifies it: the database, the record of
// each build, the bytes of each artifact against their checksums, the logs; and
// finds what belongs to nothing. A server may run meanwhile: what it changes in
// between is looked at again before it is called wrong. With repair, orphans are
// removed; what is missing or damaged cannot be brought back but from a backup.
func Check(ctx context.Context, p Place, repair bool) (*Report, error) {
	c := &checker{p: p, listed: map[string]bool{}, wanted: map[string]bool{}, builds: map[ci.BuildID]string{}, open: map[ci.BuildID]bool{}}
	c.Problems = []Problem{}
	// What lies there is listed before the records are read: what comes later is
	// not missed, and what goes meanwhile is looked for again.
	keys, err := blobKeys(ctx, p.Blobs)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		c.listed[key] = true
	}
	folders := c.folders()
	if c.snapshot, err = store.OpenSnapshot(ctx, p.Database); err != nil {
		return nil, err
	}
	defer func() { _ = c.snapshot.Close() }() // it was only read
	c.Schema = c.snapshot.Version()
	if _, err := os.Stat(filepath.Join(p.Data, "logs")); err == nil {
		if c.logs, err = logs.Open(filepath.Join(p.Data, "logs"), logs.Options{}); err != nil {
			return nil, err
		}
		defer func() { _ = c.logs.Close() }()
	}
	if err := c.records(ctx); err != nil {
		return nil, err
	}
	c.orphans(keys, folders)
	if err := c.again(ctx); err != nil {
		return nil, err
	}
	if repair {
		err = c.repair(ctx)
	}
	return &c.Report, err
}

func blobKeys(ctx context.Context, b ci.Blobs) (keys []string, err error) {
	err = b.List(ctx, ci.BlobsOfBuilds, func(b ci.Blob) error {
		keys = append(keys, b.Key)
		return nil
	})
	return keys, err
}

// folders are those of builds in the data folder.
func (c *checker) folders() (list []string) {
	for _, top := range []string{"builds", "logs"} {
		entries, err := os.ReadDir(filepath.Join(c.p.Data, top))
		if err != nil {
			continue // there is none yet
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				list = append(list, filepath.Join(c.p.Data, top, e.Name()))
			}
		}
	}
	return list
}

// wrong notes a problem.
func (c *checker) wrong(p Problem, format string, args ...any) {
	p.What = fmt.Sprintf(format, args...)
	p.Name = c.builds[p.Build]
	c.Problems = append(c.Problems, p)
}

// records goes through the database and all builds.
func (c *checker) records(ctx context.Context) error {
	texts, err := c.snapshot.Check(ctx)
	if err != nil {
		return err
	}
	for _, text := range texts {
		c.wrong(Problem{Kind: Database}, "%s", text)
	}
	if c.expired, err = c.snapshot.Expired(ctx); err != nil {
		return err
	}
	ids, err := c.snapshot.Builds(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		c.builds[id] = ""
		b, err := c.snapshot.Build(ctx, id)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ci.ErrInvalid), errors.Is(err, ci.ErrNotFound):
			c.open[id] = true // nothing is known of what it has
			c.wrong(Problem{Kind: Build, Build: id}, "%s", ci.Message(err))
			continue
		case err != nil:
			return err
		}
		c.builds[id] = fmt.Sprintf("%s/%d", b.Project, b.Number)
		c.open[id] = !b.Status.Done()
		c.Builds++
		if err := c.build(ctx, &b); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) build(ctx context.Context, b *ci.Build) error {
	for _, j := range b.Jobs {
		for _, a := range j.Artifacts {
			if c.expired[b.ID][ci.PartArtifacts] {
				break
			}
			c.Artifacts++
			if err := c.artifact(ctx, b, j.ID, a); err != nil {
				return err
			}
		}
		for _, s := range j.Steps {
			if key := s.ID.LogBlob(); s.Kind != ci.KindPhase && c.listed[key] {
				c.wanted[key] = true
				if err := c.shipped(ctx, b, s.ID, key); err != nil {
					return err
				}
			}
			if s.Kind != ci.KindPhase && s.Status.Done() && c.logs != nil {
				if err := c.log(ctx, b, s.ID); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// shipped reads a log that is in the blobs, for all servers.
func (c *checker) shipped(ctx context.Context, b *ci.Build, step ci.StepID, key string) error {
	_, _, err := c.blob(ctx, key)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, ci.ErrUnavailable):
		return err
	case err != nil:
		c.wrong(Problem{Kind: Log, Build: b.ID, Key: key}, "the log of step %s in the blobs: %s", step.Path(), ci.Message(err))
	}
	c.Logs++
	return nil
}

// log reads a step's log. One that printed nothing has none.
func (c *checker) log(ctx context.Context, b *ci.Build, step ci.StepID) error {
	r, err := c.logs.Open(ctx, step, 0)
	if errors.Is(err, ci.ErrNotFound) {
		return nil
	}
	n := int64(0)
	if err == nil {
		n, err = io.Copy(io.Discard, r)
		_ = r.Close()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.Logs++
	c.Bytes += n
	if err != nil {
		c.wrong(Problem{Kind: Log, Build: b.ID, Path: string(step)}, "the log of step %s: %v", step.Path(), err)
	}
	return nil
}

// orphans finds what lies there of builds that there are not, or that do not speak of it.
func (c *checker) orphans(keys, folders []string) {
	for _, key := range keys {
		rest := strings.TrimPrefix(key, ci.BlobsOfBuilds)
		name, _, _ := strings.Cut(rest, "/")
		id := ci.BuildID(name)
		if len(c.expired[id]) > 0 {
			continue // it goes with the next sweep, if it is there still
		}
		if _, known := c.builds[id]; !known {
			c.wrong(Problem{Kind: Orphan, Build: id, Key: key}, "blob %s is of a build that there is not", key)
		} else if !c.open[id] && !c.wanted[key] {
			c.wrong(Problem{Kind: Orphan, Build: id, Key: key}, "blob %s belongs to nothing of its build", key)
		}
	}
	for _, folder := range folders {
		id := ci.BuildID(filepath.Base(folder))
		if _, known := c.builds[id]; !known && len(c.expired[id]) == 0 {
			c.wrong(Problem{Kind: Orphan, Build: id, Path: folder}, "folder %s is of a build that there is not", folder)
		}
	}
}

// again looks once more at what is wrong, in the database as it is now: a build may
// have been started or deleted meanwhile.
func (c *checker) again(ctx context.Context) error {
	if !slices.ContainsFunc(c.Problems, func(p Problem) bool { return p.Build != "" }) {
		return nil
	}
	now, err := store.OpenSnapshot(ctx, c.p.Database)
	if err != nil {
		return err
	}
	defer func() { _ = now.Close() }()
	ids, err := now.Builds(ctx)
	if err != nil {
		return err
	}
	gone, err := now.Expired(ctx)
	if err != nil {
		return err
	}
	there := map[ci.BuildID]bool{}
	for _, id := range ids {
		there[id] = true
	}
	c.Problems = slices.DeleteFunc(c.Problems, func(p Problem) bool {
		_, was := c.builds[p.Build]
		switch {
		case p.Build == "":
			return false
		case was:
			return !there[p.Build] || p.Kind != Build && len(gone[p.Build]) > 0 // deleted meanwhile, or a part of it was
		case there[p.Build]:
			return true // made meanwhile
		case p.Path != "":
			_, err := os.Stat(p.Path)
			return errors.Is(err, fs.ErrNotExist)
		}
		r, _, err := c.p.Blobs.Open(ctx, p.Key, 0)
		if err == nil {
			_ = r.Close()
		}
		return errors.Is(err, ci.ErrNotFound)
	})
	return nil
}

// repair removes orphans.
func (c *checker) repair(ctx context.Context) error {
	for i := range c.Problems {
		p := &c.Problems[i]
		if p.Kind != Orphan {
			continue
		}
		var err error
		if p.Key != "" {
			err = c.p.Blobs.Delete(ctx, p.Key)
		} else {
			err = os.RemoveAll(p.Path)
		}
		if err != nil {
			return fmt.Errorf("remove an orphan: %w", err)
		}
		p.Repaired = true
	}
	return nil
}
