package docker

import (
	"context"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// ImageError says that a job's image cannot be had. It wraps ci.ErrNotFound,
// ErrDenied, ErrUnavailable or ErrInvalid.
type ImageError struct {
	Image string
	Err   error
}

func (e *ImageError) Error() string { return fmt.Sprintf("image %s: %v", e.Image, e.Err) }

// Unwrap gives the cause.
func (e *ImageError) Unwrap() error { return e.Err }

// Code is the status code that a phase context carries for it.
func (e *ImageError) Code() string { return ci.CodePullImage }

// localImage is an image that the engine has.
type localImage struct {
	ID     string
	Name   string // as asked for
	Digest string // the registry's, else the engine's
	Arch   string
	Env    []string
}

// inspectImage looks for an image in the engine; nil when it is not there.
func (e *Executor) inspectImage(ctx context.Context, name string) (*localImage, error) {
	if name == "" {
		return nil, &ImageError{Image: `""`, Err: fmt.Errorf("no image is named; use --image, or an image in the definition: %w", ci.ErrInvalid)}
	}
	if !isID(name) {
		if _, err := reference.ParseNormalizedNamed(name); err != nil {
			return nil, &ImageError{Image: name, Err: fmt.Errorf("not an image's name (want NAME, NAME:TAG or NAME@DIGEST): %w: %w", err, ci.ErrInvalid)}
		}
	}
	res, err := e.api.ImageInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.explain(err)
	}
	img := &localImage{ID: res.ID, Name: name, Digest: res.ID, Arch: res.Architecture}
	if res.Config != nil {
		img.Env = res.Config.Env
	}
	for _, d := range res.RepoDigests {
		if repo, digest, ok := strings.Cut(d, "@"); ok && (img.Digest == res.ID || sameRepo(repo, name)) {
			img.Digest = digest
		}
	}
	return img, nil
}

// isID says whether a name is an engine's own ID of an image.
func isID(name string) bool {
	rest, ok := strings.CutPrefix(name, "sha256:")
	return ok && len(rest) == 64
}

func sameRepo(a, b string) bool {
	an, aerr := reference.ParseNormalizedNamed(a)
	bn, berr := reference.ParseNormalizedNamed(b)
	return aerr == nil && berr == nil && an.Name() == bn.Name()
}

// haveImage gives the job's image: the one found, or built, or pulled. One for
// another architecture is refused.
func (e *Executor) haveImage(ctx context.Context, p ci.Placement, engine *Engine, found *localImage) (*localImage, error) {
	img := found
	var err error
	switch {
	case p.Runtime.Dockerfile != "":
		img, err = e.build(ctx, p)
	case img == nil:
		img, err = e.pull(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	if img.Arch != "" && img.Arch != engine.Arch {
		return nil, &ImageError{Image: img.Name, Err: fmt.Errorf("it is for %s and %s runs %s; name an image for linux/%s: %w", img.Arch, engine, engine.Arch, engine.Arch, ci.ErrInvalid)}
	}
	return img, nil
}

// pull fetches an image from its registry.
func (e *Executor) pull(ctx context.Context, p ci.Placement) (*localImage, error) {
	name := p.Runtime.Image
	if isID(name) {
		return nil, &ImageError{Image: name, Err: fmt.Errorf("the engine does not have it: %w", ci.ErrNotFound)}
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, &ImageError{Image: name, Err: fmt.Errorf("%w: %w", err, ci.ErrInvalid)}
	}
	auth, err := e.credentials(ctx, reference.Domain(ref), p.Secrets)
	if err != nil {
		return nil, &ImageError{Image: name, Err: err}
	}
	say(p.Log, "Pulling %s\n", reference.FamiliarString(reference.TagNameOnly(ref)))
	stream, err := e.api.ImagePull(ctx, name, client.ImagePullOptions{RegistryAuth: auth})
	if err == nil {
		err = e.follow(ctx, stream, p.Log)
	}
	if err != nil {
		return nil, e.pullError(ctx, name, reference.Domain(ref), auth != "", err)
	}
	img, err := e.inspectImage(ctx, name)
	if err == nil && img == nil {
		err = &ImageError{Image: name, Err: fmt.Errorf("the engine pulled it and does not have it: %w", ci.ErrUnavailable)}
	}
	return img, err
}

// follow writes a pull's progress as lines that a log can hold: a layer is named
// when it begins and when it is complete, and not for every megabyte between.
func (e *Executor) follow(ctx context.Context, stream client.ImagePullResponse, log io.Writer) error {
	defer func() { _ = stream.Close() }()
	last := map[string]string{}
	for m, err := range stream.JSONMessages(ctx) {
		if err != nil {
			return err
		}
		if m.Error != nil {
			return m.Error
		}
		if m.Status == "" || last[m.ID] == m.Status {
			continue
		}
		last[m.ID] = m.Status
		switch {
		case m.ID == "":
			say(log, "%s\n", m.Status)
		case m.Status == "Pull complete", m.Status == "Already exists", m.Status == "Download complete", m.Status == "Pulling fs layer":
			say(log, "%s: %s\n", m.ID, m.Status)
		}
	}
	return ctx.Err()
}

// pullError says in which of four ways a pull failed. Engines of different ages
// say it with a status, or only in words.
func (e *Executor) pullError(ctx context.Context, name, registry string, withCredentials bool, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	text := strings.ToLower(err.Error())
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	var kind error
	switch {
	case unreachable(err), client.IsErrConnectionFailed(err):
		return e.explain(err)
	case has("unauthorized", "authentication required", "no basic auth", "forbidden", "denied: requested access", "incorrect username or password", "invalid username/password"), cerrdefs.IsUnauthorized(err), cerrdefs.IsPermissionDenied(err):
		advice := "the registry wants credentials: give --secret registry:" + registry + "=USER:PASSWORD, or log in with 'docker login " + registry + "'"
		if withCredentials {
			advice = "the registry " + registry + " refuses the credentials given for it; check them"
		}
		kind = fmt.Errorf("%s: %w: %w", advice, err, ci.ErrDenied)
	case has("no matching manifest", "does not match the specified platform"):
		kind = fmt.Errorf("the registry has it for other architectures only: %w: %w", err, ci.ErrInvalid)
	case has("manifest unknown", "not found", "name unknown", "pull access denied", "does not exist", "manifest_unknown", "name_unknown", "unknown blob"), cerrdefs.IsNotFound(err):
		kind = fmt.Errorf("the registry %s does not have it, or hides it without credentials; check name, tag or digest: %w: %w", registry, err, ci.ErrNotFound)
	default:
		kind = fmt.Errorf("the registry %s cannot be asked from the engine: %w: %w", registry, err, ci.ErrUnavailable)
	}
	return &ImageError{Image: name, Err: kind}
}
