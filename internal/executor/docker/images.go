package docker

import (
	"context"
	"fmt"
	"io"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// The operations below are for those who look after images, and not for jobs:
// they have the shape of image.Engine.

// ImageInfo says what the engine knows of an image that it has; ci.ErrNotFound
// when it does not have it.
func (e *Executor) ImageInfo(ctx context.Context, ref string) (ci.ImageInfo, error) {
	res, err := e.api.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return ci.ImageInfo{}, fmt.Errorf("image %s: %w", ref, ci.ErrNotFound)
	}
	if err != nil {
		return ci.ImageInfo{}, e.explain(err)
	}
	info := ci.ImageInfo{ID: res.ID, Size: res.Size}
	info.Created, _ = time.Parse(time.RFC3339Nano, res.Created) // some builders say none
	if res.Config != nil {
		info.Labels = res.Config.Labels
	}
	if len(res.RepoDigests) > 0 {
		info.Digest = res.RepoDigests[0]
	}
	return info, nil
}

// PullImage fetches an image from its registry, with the user's credentials. An
// image that cannot be had is a *ImageError.
func (e *Executor) PullImage(ctx context.Context, ref string, log io.Writer) error {
	_, err := e.pull(ctx, ci.Placement{Runtime: ci.Runtime{Image: ref}, Log: log})
	return err
}

// ImportImage makes an image of one layer from a tar of a root file system.
func (e *Executor) ImportImage(ctx context.Context, ref string, rootfs io.Reader) error {
	res, err := e.api.ImageImport(ctx, client.ImageImportSource{Source: rootfs, SourceName: "-"}, ref, client.ImageImportOptions{})
	if err != nil {
		return fmt.Errorf("import image %s: %w", ref, e.explain(err))
	}
	defer func() { _ = res.Close() }()
	if _, err := readBuild(res, nil); err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	return nil
}

// BuildImage builds the Dockerfile at the top of a context and tags the result.
// What it runs has the host's network.
func (e *Executor) BuildImage(ctx context.Context, ref string, args, labels map[string]string, source func(context.Context, io.Writer) error, log io.Writer) error {
	values := make(map[string]*string, len(args))
	for k, v := range args {
		values[k] = &v
	}
	_, err := e.imageBuild(ctx, source, client.ImageBuildOptions{
		Tags: []string{ref}, Dockerfile: "Dockerfile", NetworkMode: "host", BuildArgs: values, Labels: labels,
		Remove: true, ForceRemove: true, Version: build.BuilderV1,
	}, log)
	return err
}
