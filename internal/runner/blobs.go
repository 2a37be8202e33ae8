package runner

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// storeArtifact puts an artifact that was packed below dir into the blobs and takes it
// away from there. The key depends on nothing but the job and the artifact's
// path, so what a killed process has put is replaced by the same.
func (j *job) storeArtifact(ctx context.Context, a *ci.Artifact, dir string) error {
	local := filepath.Join(dir, filepath.FromSlash(a.Path))
	a.Blob = j.blobPrefix() + "/artifacts/" + ci.BlobName(a.Path)
	var err error
	if a.Format == Zip {
		err = j.putFile(ctx, a.Blob, local)
	} else {
		err = filepath.WalkDir(local, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(local, name)
			if err != nil {
				return err
			}
			return j.putFile(ctx, a.Blob+"/"+ci.BlobName(filepath.ToSlash(rel)), name)
		})
	}
	if err != nil {
		return fmt.Errorf("store artifact %s: %w", a.Path, err)
	}
	if err := os.RemoveAll(local); err != nil {
		return fmt.Errorf("remove what was stored of artifact %s: %w", a.Path, err)
	}
	top := filepath.Dir(dir)
	for p := filepath.Dir(local); p != top && os.Remove(p) == nil; p = filepath.Dir(p) { // those that are empty now
	}
	return nil
}

func (j *job) putFile(ctx context.Context, key, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = j.r.cfg.Blobs.Put(ctx, key, f)
	return err
}

// blobPrefix is of this attempt alone: an earlier one's artifacts stay.
func (j *job) blobPrefix() string { return ci.BlobsOfBuilds + ci.BlobName(string(j.a.Run.ID)) }

// sweepBlobs removes what was put for the job and belongs to no artifact of it,
// because what put it failed, was stopped or was killed on the way.
func (j *job) sweepBlobs(ctx context.Context) {
	if j.r.cfg.Blobs == nil || len(j.result.Artifacts) >= len(j.a.Job.Artifacts) {
		return
	}
	wanted := func(key string) bool {
		for _, a := range j.result.Artifacts {
			if key == a.Blob || strings.HasPrefix(key, a.Blob+"/") {
				return true
			}
		}
		return false
	}
	var gone []string
	err := j.r.cfg.Blobs.List(ctx, j.blobPrefix()+"/artifacts/", func(b ci.Blob) error {
		if !wanted(b.Key) {
			gone = append(gone, b.Key)
		}
		return nil
	})
	for _, key := range gone {
		if err == nil {
			err = j.r.cfg.Blobs.Delete(ctx, key)
		}
	}
	if err != nil {
		j.r.cfg.Log.Warn("blobs that belong to no artifact stay; 'sluice fsck' finds them", "job", j.a.Run.ID, "err", err)
	}
}
