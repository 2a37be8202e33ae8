package main

import (
	"context"
	"errors"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// adopt copies the artifacts of a job to another that takes them over: each build
// has its own, so that the other may be deleted.
func (s *server) adopt(ctx context.Context, from, to ci.JobID, artifacts []ci.Artifact) error {
	old, own := ci.BlobsOfBuilds+ci.BlobName(string(from)), ci.BlobsOfBuilds+ci.BlobName(string(to))
	for i := range artifacts {
		a := &artifacts[i]
		rest, ours := strings.CutPrefix(a.Blob, old+"/")
		if !ours {
			continue // it is shared
		}
		keys := []string{a.Blob}
		if a.Format != "zip" {
			keys = nil
			err := s.blobs.List(ctx, a.Blob+"/", func(b ci.Blob) error {
				keys = append(keys, b.Key)
				return nil
			})
			if err != nil {
				return err
			}
		}
		for _, key := range keys {
			if err := s.copyBlob(ctx, key, own+strings.TrimPrefix(key, old)); err != nil {
				return err
			}
		}
		a.Blob = own + "/" + rest
	}
	return nil
}

func (s *server) copyBlob(ctx context.Context, from, to string) error {
	r, _, err := s.blobs.Open(ctx, from, 0)
	if err != nil {
		return err
	}
	_, err = s.blobs.Put(ctx, to, r)
	return errors.Join(err, r.Close())
}
