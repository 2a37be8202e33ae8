package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
)

// JobArtifact is an artifact of a job. Open is its name for OpenArtifact: of a
// folder, each of Entries is to be put behind it.
type JobArtifact struct {
	Job string `json:"job"`
	ci.Artifact
	Open    string  `json:"open"`
	Entries []Entry `json:"entries,omitempty"` // of a folder; not all when there are very many
	// Expired is when it was removed, since the project keeps it no longer.
	Expired time.Time `json:"expired,omitzero"`
}

// Entry is a file of an artifact that is a folder.
type Entry struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// mostEntries is how many files of a folder are listed.
const mostEntries = 10_000

// Artifacts lists the artifacts of a build, each with a path that begins with
// the name of its job.
func (a *App) Artifacts(ctx context.Context, project string, number int64) ([]JobArtifact, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return nil, err
	}
	parts, err := a.cfg.Store.Expired(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	expired := parts[ci.PartArtifacts]
	list := []JobArtifact{}
	for _, j := range b.Jobs {
		for _, art := range j.Artifacts {
			item := JobArtifact{Expired: expired, Job: jobName(j.ID), Artifact: art, Open: openPath(j.ID, art)}
			if art.Format == "folder" {
				if item.Entries, err = a.entries(ctx, j.ID, art); err != nil {
					return nil, err
				}
			}
			list = append(list, item)
		}
	}
	return list, nil
}

func openPath(job ci.JobID, a ci.Artifact) string {
	return jobName(job) + "/" + strings.TrimPrefix(a.Path, "artifacts/")
}

// errEnough ends a list.
var errEnough = errors.New("enough")

// entries lists the files of a folder that is still there.
func (a *App) entries(ctx context.Context, job ci.JobID, art ci.Artifact) (list []Entry, err error) {
	err = a.eachEntry(ctx, job, art, func(e Entry) error {
		if list = append(list, e); len(list) == mostEntries {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("list artifact %s: %w", art.Name, err)
	}
	return list, nil
}

// eachEntry calls f with each file of a folder that is still there.
func (a *App) eachEntry(ctx context.Context, job ci.JobID, art ci.Artifact, f func(Entry) error) error {
	if art.Blob != "" {
		return a.cfg.Blobs.List(ctx, art.Blob+"/", func(b ci.Blob) error {
			return f(Entry{ci.BlobPath(strings.TrimPrefix(b.Key, art.Blob+"/")), b.Size})
		})
	}
	root, err := os.OpenRoot(a.cfg.Output(job))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), path.Clean(art.Path), func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(Entry{strings.TrimPrefix(name, path.Clean(art.Path)+"/"), info.Size()})
	})
}

// File is an opened artifact, or a file of one that is a folder.
type File struct {
	io.ReadCloser
	Name string
	Size int64
	Time time.Time
}

// OpenArtifact opens an artifact by the path that Artifacts gives it.
func (a *App) OpenArtifact(ctx context.Context, project string, number int64, name string) (*File, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return nil, err
	}
	missing := fmt.Errorf("artifact %.200q of build %s/%d: %w: list the artifacts of the build for their paths", name, project, number, ci.ErrNotFound)
	if !filepath.IsLocal(name) || path.Clean(name) != name || strings.ContainsAny(name, "\x00\\") {
		return nil, missing
	}
	if err := a.removed(ctx, b.ID, ci.PartArtifacts, project, number); err != nil {
		return nil, err
	}
	for _, j := range b.Jobs {
		i := slices.IndexFunc(j.Artifacts, func(art ci.Artifact) bool {
			at := openPath(j.ID, art)
			return at == name || art.Format == "folder" && strings.HasPrefix(name, at+"/")
		})
		if i < 0 {
			continue
		}
		art := j.Artifacts[i]
		inside := strings.TrimPrefix(name, openPath(j.ID, art))
		f, err := a.open(ctx, j.ID, art, inside)
		if absent(err) {
			return nil, missing
		}
		if err != nil {
			return nil, fmt.Errorf("artifact %q of build %s/%d: %w", name, project, number, err)
		}
		return f, nil
	}
	return nil, missing
}

// absent says whether a name leads nowhere: to nothing, through what is no
// folder, or out of the artifact, which os.Root refuses with an error of its own.
func absent(err error) bool {
	var path *fs.PathError
	var number syscall.Errno
	if errors.As(err, &number) {
		switch number {
		case syscall.ENOENT, syscall.ENOTDIR, syscall.ELOOP, syscall.ENAMETOOLONG, syscall.ENXIO, syscall.EINVAL:
			return true
		}
		return false
	}
	return errors.As(err, &path) || errors.Is(err, ci.ErrNotFound)
}

// open opens an artifact, or, with inside, a file of it.
func (a *App) open(ctx context.Context, job ci.JobID, art ci.Artifact, inside string) (*File, error) {
	if art.Blob != "" {
		return a.openBlob(ctx, art, inside)
	}
	root, err := os.OpenRoot(a.cfg.Output(job))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Not to wait for the other end of a pipe that somebody put there.
	f, err := root.OpenFile(filepath.FromSlash(art.Path+inside), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ci.ErrNotFound
		if info.IsDir() {
			err = fmt.Errorf("it is a folder: open its files, which the list of artifacts names: %w", ci.ErrInvalid)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &File{f, path.Base(art.Path + inside), info.Size(), info.ModTime()}, nil
}

// openBlob opens an artifact that is in the blobs.
func (a *App) openBlob(ctx context.Context, art ci.Artifact, inside string) (*File, error) {
	key := art.Blob
	switch {
	case a.cfg.Blobs == nil:
		return nil, ci.ErrNotFound
	case art.Format == "folder" && inside == "":
		return nil, fmt.Errorf("it is a folder: open its files, which the list of artifacts names: %w", ci.ErrInvalid)
	case art.Format == "folder":
		key += "/" + ci.BlobName(strings.TrimPrefix(inside, "/"))
	case inside != "":
		return nil, ci.ErrNotFound
	}
	if blob.CheckKey(key) != nil {
		return nil, ci.ErrNotFound
	}
	r, info, err := a.cfg.Blobs.Open(ctx, key, 0)
	if errors.Is(err, ci.ErrInvalid) {
		return nil, errors.New(err.Error()) // damaged, which is nothing that who asks can mend
	}
	if err != nil {
		return nil, err
	}
	return &File{&blobSeeker{ctx: ctx, blobs: a.cfg.Blobs, key: key, size: info.Size, r: r}, path.Base(art.Path + inside), info.Size, info.Time}, nil
}
