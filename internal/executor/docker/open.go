package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-ci/sluice/internal/ci"
)

// comesAndGoes bounds how long Open starts over when the job's container comes
// and goes under it.
const comesAndGoes = 30 * time.Second

// errAgain says that the container that was found is gone now.
var errAgain = errors.New("the container went away")

// Open finds the job's container or makes it; see ci.Executor. An image that
// cannot be had is a *ImageError.
func (e *Executor) Open(ctx context.Context, p ci.Placement) (ci.Sandbox, error) {
	if err := e.check(p); err != nil {
		return nil, fmt.Errorf("open a container for %s: %w", p.Job, err)
	}
	pause := 5 * time.Millisecond
	for deadline := time.Now().Add(comesAndGoes); ; pause = min(2*pause, 200*time.Millisecond) {
		s, err := e.open(ctx, p)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, errAgain) || time.Now().After(deadline) {
			return nil, fmt.Errorf("open a container for %s: %w", p.Job, err)
		}
		select { // the name is taken before the container can be found, and freed after
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("open a container for %s: %w", p.Job, context.Cause(ctx))
		}
	}
}

// check refuses what no engine could do, before anything is asked of one.
func (e *Executor) check(p ci.Placement) error {
	switch p.Runtime.Network {
	case "", "host", "none":
	default:
		return fmt.Errorf("network %q: want host, none, or nothing for the engine's default: %w", p.Runtime.Network, ci.ErrInvalid)
	}
	if p.Job == "" {
		return fmt.Errorf("a job without an ID: %w", ci.ErrInvalid)
	}
	if p.Runtime.Memory > 0 && p.Runtime.Memory < 6<<20 {
		return fmt.Errorf("memory limit of %d bytes: an engine takes 6 MiB and more: %w", p.Runtime.Memory, ci.ErrInvalid)
	}
	return nil
}

// open is one attempt. What can be asked at once is asked at once.
func (e *Executor) open(ctx context.Context, p ci.Placement) (*Sandbox, error) {
	r := recipe{name: e.containerName(p.Job), job: p.Job, runtime: p.Runtime}
	var (
		engine *Engine
		found  *container.InspectResponse
		image  *localImage
	)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { engine, err = e.engine(gctx); return err })
	g.Go(func() (err error) { found, err = e.find(gctx, r.name); return err })
	g.Go(func() (err error) { r.network, err = e.network(gctx, p.Runtime.Network); return err })
	if p.Runtime.Dockerfile == "" {
		g.Go(func() (err error) { image, err = e.inspectImage(gctx, p.Runtime.Image); return err })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if found != nil {
		return e.attach(ctx, p, *found)
	}
	var err error
	if r.image, err = e.haveImage(ctx, p, engine, image); err != nil {
		return nil, err
	}
	if p.Runtime.Network == "" && r.network == "host" {
		say(p.Log, "The engine's default network does not work; the container has the host's network.\n")
	}
	return e.make(ctx, p, r, engine)
}

// find looks for the job's container; nil when there is none.
func (e *Executor) find(ctx context.Context, name string) (*container.InspectResponse, error) {
	res, err := e.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.explain(err)
	}
	return &res.Container, nil
}

// network names the engine's network for a wish.
func (e *Executor) network(ctx context.Context, wish string) (string, error) {
	if wish != "" {
		return wish, nil
	}
	if e.noDefault.Load() {
		return "host", nil
	}
	_, err := e.api.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if cerrdefs.IsNotFound(err) {
		engine, err := e.engine(ctx)
		if err != nil {
			return "", err
		}
		if !engine.Podman() { // whose default has another name
			e.noDefault.Store(true)
			return "host", nil
		}
	}
	return "default", nil
}

// make creates and starts the container. Where the engine turns out not to see
// our files, or its default network not to work, it does so once more without.
func (e *Executor) make(ctx context.Context, p ci.Placement, r recipe, engine *Engine) (*Sandbox, error) {
	for {
		r.files = Bind
		if e.copies.Load() {
			r.files = Copy
		}
		r.placed = placed(r, engine)
		s, err := e.makeOnce(ctx, r)
		switch {
		case err == nil:
			return s, nil
		case r.files == Bind && e.cfg.Files == "" && (errors.Is(err, errNotShared) || errors.Is(err, errEnded)):
			e.copies.Store(true)
		case r.network == "default" && networkTrouble(err):
			e.noDefault.Store(true)
			say(p.Log, "The engine's default network does not work (%s); the container has the host's network.\n", firstLine(err.Error()))
			r.network = "host"
		default:
			return nil, err
		}
	}
}

// errNotShared: the engine looks at another file system than ours.
var errNotShared = errors.New("the engine does not see this machine's files")

func (e *Executor) makeOnce(ctx context.Context, r recipe) (_ *Sandbox, err error) {
	if r.files == Bind {
		if err := e.shareTools(); err != nil {
			return nil, err
		}
		if r.folder, err = e.shareJob(r); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = os.RemoveAll(r.folder) // no container has it, or none has it any more
			}
		}()
	}
	opts, err := e.createOptions(r)
	if err != nil {
		return nil, err
	}
	created, err := e.api.ContainerCreate(ctx, opts)
	switch {
	case err != nil && strings.Contains(err.Error(), r.name) && (cerrdefs.IsConflict(err) || strings.Contains(err.Error(), "already in use")):
		return nil, errAgain // another Open was faster: find what it made
	case err != nil && r.files == Bind && notShared(err):
		return nil, errNotShared
	case cerrdefs.IsNotFound(err):
		return nil, errAgain // the image was removed between the look at it and now
	case err != nil:
		return nil, e.explain(err)
	}
	s := e.sandbox(created.ID, r.name, r.files, r.folder, r.placed)
	s.fresh = true
	if err := e.begin(ctx, s, r); err != nil {
		return nil, errors.Join(err, e.discard(ctx, s))
	}
	return s, nil
}

// notShared recognises a bind mount of a folder that the engine cannot find:
// Docker's words, and Podman's.
func notShared(err error) bool {
	text := err.Error()
	return strings.Contains(text, "bind source path does not exist") || strings.Contains(text, "statfs") || strings.Contains(text, "no such file or directory") && strings.Contains(text, "mount")
}

// networkTrouble says whether a start failed over the network.
func networkTrouble(err error) bool {
	text := strings.ToLower(err.Error())
	for _, w := range []string{"iptables", "nftables", "netavark", "cni ", "network bridge", "failed to create endpoint", "bridge-nf", "veth", "setting up network", "failed to set up container networking"} {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// begin starts a created container and waits for its agent.
func (e *Executor) begin(ctx context.Context, s *Sandbox, r recipe) error {
	if r.files == Copy {
		if err := e.copyIn(ctx, s.id, r); err != nil {
			return e.explain(err)
		}
	}
	_, err := e.api.ContainerStart(ctx, s.id, client.ContainerStartOptions{})
	switch {
	case err == nil:
		err = s.ready(ctx)
	case missing(err): // Podman, of one that ended at once and is removed already
		err = fmt.Errorf("%w: %w", errEnded, err)
	default:
		err = e.explain(err)
	}
	if errors.Is(err, errEnded) && dynamic(e.cfg.Exe) {
		return fmt.Errorf("the agent does not start in this image, most likely because the sluice binary %s needs libraries that the image lacks; use a static one (built with CGO_ENABLED=0): %w", e.cfg.Exe, ci.ErrInvalid)
	}
	if err != nil {
		return err
	}
	if r.files == Copy {
		return nil // its directories came with the agent
	}
	return s.makeDirs(ctx)
}

// attach uses a container that was found, if its agent lives; else it removes it
// and says errAgain.
func (e *Executor) attach(ctx context.Context, p ci.Placement, found container.InspectResponse) (*Sandbox, error) {
	files, folder := Copy, ""
	var where ci.Placed
	if found.Config != nil {
		if found.Config.Labels[labelJob] != string(p.Job) || found.Config.Labels[labelOwner] != e.cfg.Owner {
			return nil, fmt.Errorf("container %s is there and is not this job's; remove it: %w", found.Name, ci.ErrConflict)
		}
		files, folder = found.Config.Labels[labelFiles], e.folder(found.Config.Labels[labelFolder])
		if err := json.Unmarshal([]byte(found.Config.Labels[labelPlaced]), &where); err != nil {
			return nil, fmt.Errorf("label %s of container %s: %w: %w", labelPlaced, found.Name, err, ci.ErrInvalid)
		}
	}
	s := e.sandbox(found.ID, strings.TrimPrefix(found.Name, "/"), files, folder, where)
	state := container.ContainerState("")
	if found.State != nil {
		state = found.State.Status
	}
	switch state {
	case container.StateCreated, "configured", "initialized": // the latter two are Podman's
		// Its maker is at it, or died at it. It has begun nothing; one that its
		// maker leaves alone for this long is made anew.
		if err := s.untilStarted(ctx); err == nil {
			return s, nil
		}
	case container.StateRunning, container.StatePaused:
		err := s.ready(ctx)
		if err == nil || ctx.Err() != nil {
			return s, err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := e.discard(ctx, s); err != nil {
		return nil, err
	}
	return nil, errAgain
}

// discard removes a container that is of no use and waits until its name is free.
func (e *Executor) discard(ctx context.Context, s *Sandbox) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := e.remove(ctx, s.id); err != nil {
		return fmt.Errorf("remove container %s, which is of no use: %w", s.name, err)
	}
	s.removeFolder()
	return nil
}

// removePatience is how long an engine gets to be done with removing.
const removePatience = 20 * time.Second

// remove ends and removes a container; one that is gone already is fine. Engines
// refuse, or stumble over themselves, when they are already removing it because
// it ended: then it is asked again.
func (e *Executor) remove(ctx context.Context, id string) error {
	pause := 10 * time.Millisecond
	for deadline := time.Now().Add(removePatience); ; pause = min(2*pause, 500*time.Millisecond) {
		_, err := e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, missing(err):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case unreachable(err), client.IsErrConnectionFailed(err), time.Now().After(deadline):
			return e.explain(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// missing says whether an error is that a container is not there. Podman has it
// as an error of its own when the container goes while it is looked at.
func missing(err error) bool {
	return err != nil && (cerrdefs.IsNotFound(err) || strings.Contains(err.Error(), "no such container"))
}

// say writes a line for the person who waits.
func say(w interface{ Write([]byte) (int, error) }, format string, args ...any) {
	if w != nil {
		_, _ = fmt.Fprintf(w, format, args...)
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
