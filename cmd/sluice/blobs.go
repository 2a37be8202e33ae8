package main

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
)

// cacheFolder is of caches, below a folder of blobs that is shared, and below the
// prefix of a bucket.
const cacheFolder = "cache"

// openBlobs opens what --blobs names: for artifacts, and for caches, which a
// crash of the machine may take.
func openBlobs(ctx context.Context, cfg serverConfig) (blobs, caches ci.Blobs, err error) {
	if blob.IsS3(cfg.blobs) {
		at, err := blob.ParseAddress(cfg.blobs)
		if err != nil {
			return nil, nil, err
		}
		s, err := blob.OpenS3(ctx, at, filepath.Join(cfg.data, "tmp"))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Below(cacheFolder), nil
	}
	caches, err = blob.OpenCache(cfg.cacheFolder())
	if err != nil {
		return nil, nil, err
	}
	blobs, err = blob.OpenDir(cfg.blobs)
	return blobs, caches, err
}

// cacheFolder: that of a server by itself lies beside its blobs.
func (c serverConfig) cacheFolder() string {
	if c.sharesBlobs() {
		return filepath.Join(c.blobs, cacheFolder)
	}
	return filepath.Join(c.data, cacheFolder)
}

// sharesBlobs says whether other servers may use the same blobs.
func (c serverConfig) sharesBlobs() bool { return c.blobs != filepath.Join(c.data, "blobs") }

// deleteBlobs removes one kind of a build's blobs: of each of its jobs what lies
// below that name.
func deleteBlobs(ctx context.Context, blobs ci.Blobs, id ci.BuildID, kind string) error {
	below := map[string]bool{}
	err := blobs.List(ctx, id.Blobs()+"/", func(b ci.Blob) error {
		job, rest, _ := strings.Cut(strings.TrimPrefix(b.Key, id.Blobs()+"/"), "/")
		if strings.HasPrefix(rest, kind+"/") {
			below[id.Blobs()+"/"+job+"/"+kind+"/"] = true
		}
		return nil
	})
	for prefix := range below {
		if err == nil {
			err = blobs.Delete(ctx, prefix)
		}
	}
	return err
}
