package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// build makes the job's image from a Dockerfile of its source. The image gets a
// tag by job and file, so that its layers stay and the next build finds them.
func (e *Executor) build(ctx context.Context, p ci.Placement) (*localImage, error) {
	file := path.Clean(strings.ReplaceAll(p.Runtime.Dockerfile, `\`, "/"))
	shown := "of " + file
	if path.IsAbs(file) || file == ".." || strings.HasPrefix(file, "../") {
		return nil, &ImageError{Image: shown, Err: fmt.Errorf("the Dockerfile must be in the source: %w", ci.ErrInvalid)}
	}
	if p.BuildContext == nil {
		return nil, &ImageError{Image: shown, Err: fmt.Errorf("there is no source to build it from: %w", ci.ErrInvalid)}
	}
	network, err := e.network(ctx, p.Runtime.Network)
	if err != nil {
		return nil, err
	}
	say(p.Log, "Building the image from %s\n", file)
	tag := buildTag(e, p.Job.Name(), file)
	id, err := e.imageBuild(ctx, p.BuildContext, client.ImageBuildOptions{
		Tags: []string{tag}, Dockerfile: file, NetworkMode: network,
		Remove: true, ForceRemove: true, Version: build.BuilderV1,
		Labels: map[string]string{labelOwner: e.cfg.Owner},
	}, p.Log)
	if err != nil {
		return nil, &ImageError{Image: shown, Err: err}
	}
	if id == "" {
		id = tag
	}
	img, err := e.inspectImage(ctx, id)
	if err == nil && img == nil {
		err = fmt.Errorf("the engine built it and does not have it: %w", ci.ErrUnavailable)
	}
	if err != nil {
		return nil, &ImageError{Image: shown, Err: err}
	}
	img.Name = file
	return img, nil
}

// buildTag keeps the newest image of a job's Dockerfile, and by it its layers.
func buildTag(e *Executor, job, file string) string {
	sum := sha256.Sum256([]byte(e.cfg.Owner + "\x00" + job + "\x00" + file))
	return "sluice/build:" + hex.EncodeToString(sum[:8])
}

// imageBuild streams the context in and the build's output out. The answer is
// the image's ID, where the engine says it.
func (e *Executor) imageBuild(ctx context.Context, source func(context.Context, io.Writer) error, opts client.ImageBuildOptions, log io.Writer) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := source(ctx, pw)
		pw.CloseWithError(err)
		sent <- err
	}()
	res, err := e.api.ImageBuild(ctx, pr, opts)
	var id string
	if err == nil {
		id, err = readBuild(res.Body, log)
		_ = res.Body.Close()
	}
	cancel()
	_ = pr.Close()
	if sendErr := <-sent; sendErr != nil && !errors.Is(sendErr, io.ErrClosedPipe) && !errors.Is(sendErr, context.Canceled) {
		return "", fmt.Errorf("send the source: %w", sendErr)
	}
	if err != nil && (unreachable(err) || client.IsErrConnectionFailed(err)) {
		return "", e.explain(err)
	}
	return id, err
}

// readBuild copies a build's output to log.
func readBuild(body io.Reader, log io.Writer) (id string, err error) {
	dec := json.NewDecoder(body)
	for {
		var m struct {
			Stream string          `json:"stream"`
			Status string          `json:"status"`
			ID     string          `json:"id"`
			Error  string          `json:"error"`
			Aux    json.RawMessage `json:"aux"`
		}
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return id, nil
			}
			return "", fmt.Errorf("the engine went away during the build: %w: %w", err, ci.ErrUnavailable)
		}
		switch {
		case m.Error != "":
			return "", fmt.Errorf("the build of the image failed: %s: %w", strings.TrimSpace(m.Error), ci.ErrInvalid)
		case m.Stream != "":
			say(log, "%s", m.Stream)
		case m.Status != "" && m.ID == "":
			say(log, "%s\n", m.Status)
		case len(m.Aux) > 0:
			var aux struct{ ID string }
			if json.Unmarshal(m.Aux, &aux) == nil && aux.ID != "" {
				id = aux.ID
			}
		}
	}
}
