package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// labelDefinition is where a built image says what it was built from.
const labelDefinition = "dev.sluice.definition"

// Bases of the environments: what a registry has, and what debootstrap makes of
// Debian's archive where none answers.
const (
	registryBase = "debian:bookworm-slim"
	ownBase      = "sluice/base:bookworm"
	suite        = "bookworm"
	archive      = "http://deb.debian.org/debian"
)

// Engine is what a container engine does for environments.
type Engine interface {
	// ImageInfo says what the engine has; ci.ErrNotFound when it has not.
	ImageInfo(ctx context.Context, ref string) (Info, error)
	// PullImage fetches an image from its registry.
	PullImage(ctx context.Context, ref string, log io.Writer) error
	// ImportImage makes an image of one layer from a tar of a root file system.
	ImportImage(ctx context.Context, ref string, rootfs io.Reader) error
	// BuildImage builds the Dockerfile at the top of a context, with the host's network.
	BuildImage(ctx context.Context, ref string, args, labels map[string]string, context func(context.Context, io.Writer) error, log io.Writer) error
}

// Info is what an engine knows of an image.
type Info = ci.ImageInfo

// State is an environment and what the engine has of it.
type State struct {
	Environment
	Built   bool
	Stale   bool // built from another definition than this binary's
	Size    int64
	Created time.Time
	ID      string
}

// List says of every environment whether it is built.
func List(ctx context.Context, engine Engine, tree fs.FS) ([]State, error) {
	all, err := Environments(tree)
	if err != nil {
		return nil, err
	}
	out := make([]State, 0, len(all))
	for _, env := range all {
		s := State{Environment: env}
		info, err := engine.ImageInfo(ctx, env.Name)
		switch {
		case errors.Is(err, ci.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			s.Built, s.Size, s.Created, s.ID = true, info.Size, info.Created, info.ID
			s.Stale = info.Labels[labelDefinition] != env.Definition()
		}
		out = append(out, s)
	}
	return out, nil
}

// Builder builds environments.
type Builder struct {
	Engine Engine
	Host   Host
	// Run runs a program of this machine (debootstrap and tar, which need root).
	// Nil = a base must come from a registry.
	Run func(ctx context.Context, argv []string, stdout, stderr io.Writer) error
	Log io.Writer
}

// Build builds one environment and tags it with its name.
func (b *Builder) Build(ctx context.Context, env Environment) (Info, error) {
	if b.Log == nil {
		b.Log = io.Discard
	}
	base, err := b.base(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("build %s: %w", env.Name, err)
	}
	args := map[string]string{"BASE": base}
	maps.Copy(args, b.Host.Args)
	if b.Host.Mirror != "" {
		args["MIRROR"] = b.Host.Mirror
	}
	if b.Host.Updates != "" {
		args["SECURITY_MIRROR"] = b.Host.Updates
	}
	labels := map[string]string{labelDefinition: env.Definition()}
	write := func(_ context.Context, w io.Writer) error { return env.writeContext(w, b.Host) }
	if err := b.Engine.BuildImage(ctx, env.Name, args, labels, write, b.Log); err != nil {
		return Info{}, fmt.Errorf("build %s: %w", env.Name, err)
	}
	info, err := b.Engine.ImageInfo(ctx, env.Name)
	if err != nil {
		return Info{}, fmt.Errorf("build %s: %w", env.Name, err)
	}
	return info, nil
}

// base gives an image to build on: one that is there, else the registry's, else
// one made here.
func (b *Builder) base(ctx context.Context) (string, error) {
	for _, ref := range []string{registryBase, ownBase} {
		_, err := b.Engine.ImageInfo(ctx, ref)
		if err == nil {
			return ref, nil
		}
		if !errors.Is(err, ci.ErrNotFound) {
			return "", err
		}
	}
	pullErr := b.Engine.PullImage(ctx, registryBase, b.Log)
	if pullErr == nil {
		return registryBase, nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	_, _ = fmt.Fprintf(b.Log, "%v\nMaking the base with debootstrap instead\n", pullErr)
	if err := b.debootstrap(ctx); err != nil {
		return "", fmt.Errorf("no base image: %w; and with debootstrap: %w", pullErr, err)
	}
	return ownBase, nil
}

// debootstrap makes the base from Debian's archive and imports it.
func (b *Builder) debootstrap(ctx context.Context) error {
	if b.Run == nil {
		return fmt.Errorf("no programs may be run here: %w", ci.ErrUnavailable)
	}
	dir, err := os.MkdirTemp("", "sluice-base-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	mirror := b.Host.Mirror
	if mirror == "" {
		mirror = archive
	}
	root := filepath.Join(dir, "root")
	if err := b.Run(ctx, []string{"debootstrap", "--variant=minbase", suite, root, mirror}, b.Log, b.Log); err != nil {
		return fmt.Errorf("debootstrap (it needs root; install it with apt-get install debootstrap): %w: %w", err, ci.ErrUnavailable)
	}
	pr, pw := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := b.Run(ctx, []string{"tar", "-C", root, "--numeric-owner", "--one-file-system", "--exclude=./var/cache/apt/archives/*.deb", "-cf", "-", "."}, pw, b.Log)
		pw.CloseWithError(err)
		packed <- err
	}()
	err = b.Engine.ImportImage(ctx, ownBase, pr)
	_ = pr.Close()
	return errors.Join(err, <-packed)
}
