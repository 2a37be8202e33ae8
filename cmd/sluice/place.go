package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/embedded"
	"github.com/sluice-ci/sluice/internal/buildtool"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/docker"
	"github.com/sluice-ci/sluice/internal/executor/local"
	"github.com/sluice-ci/sluice/internal/image"
)

// placer picks the executor of a job and settles what its runtime leaves open.
// Executors are made when they are first asked for.
type placer struct {
	home string
	warn func(string) // what the user must know of a choice; told once

	local  func() *local.Executor
	docker func() (*docker.Executor, error)
	told   sync.Map

	mu   sync.Mutex
	open map[ci.JobID]ci.Sandbox // of this process, to be killed at need
	note func(job ci.JobID, executor string, r ci.Runtime, s ci.Sandbox)
}

func newPlacer(home string, warn func(string)) *placer {
	p := &placer{home: home, warn: warn, open: map[ci.JobID]ci.Sandbox{}}
	p.local = sync.OnceValue(func() *local.Executor {
		return local.New(local.Config{Root: filepath.Join(home, "sandboxes"), Exe: embedded.Agent(home), Tools: buildtool.Names()})
	})
	p.docker = sync.OnceValues(func() (*docker.Executor, error) {
		return docker.New(docker.Config{Root: filepath.Join(home, "docker"), Exe: embedded.Agent(home), Tools: buildtool.Names(), Helper: credentialHelper})
	})
	return p
}

// place is runner.Config.Place.
func (p *placer) place(ctx context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error) {
	cpus, memory, err := computeSize(r)
	if err != nil {
		return nil, r, err
	}
	if r.CPUs == 0 {
		r.CPUs = cpus
	}
	if r.Memory == 0 {
		r.Memory = memory
	}
	e, r, err := p.pick(ctx, r)
	if err != nil {
		return nil, r, err
	}
	return &tracked{Executor: e, p: p}, r, nil
}

func (p *placer) pick(ctx context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error) {
	switch r.Executor {
	case "local":
		return p.onHost(r, "")
	case "docker":
		return p.inEngine(ctx, r)
	case "", "auto":
	default:
		return nil, r, fmt.Errorf("there is no executor %q: want local or docker: %w", r.Executor, ci.ErrInvalid)
	}
	if r.Image == "" && r.Dockerfile == "" {
		return p.onHost(r, "")
	}
	d, err := p.docker()
	if err == nil {
		_, err = d.Probe(ctx)
	}
	if err != nil {
		return p.onHost(r, "no container engine answers ("+err.Error()+")")
	}
	e, in, err := p.inEngine(ctx, r)
	if errors.Is(err, errNotBuilt) {
		return p.onHost(r, err.Error())
	}
	return e, in, err
}

// onHost places a job on this machine itself. why says what stands in the way of
// the container that was wanted.
func (p *placer) onHost(r ci.Runtime, why string) (ci.Executor, ci.Runtime, error) {
	wanted := r.Image
	if wanted == "" {
		wanted = r.Dockerfile
	}
	if wanted != "" {
		if why != "" {
			why = ", because " + why + "; --executor docker makes this an error"
		}
		p.tell("warning: " + wanted + " is not used: the build runs on this machine's own programs" + why)
	}
	r.Executor, r.Image, r.Dockerfile = "local", "", ""
	return p.local(), r, nil
}

// errNotBuilt says that an environment of ours is wanted that is not there yet.
var errNotBuilt = errors.New("it is not built yet")

func (p *placer) inEngine(ctx context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error) {
	d, err := p.docker()
	if err != nil {
		return nil, r, err
	}
	r.Executor = "docker"
	if r.Image == "" && r.Dockerfile == "" {
		return nil, r, fmt.Errorf("the docker executor needs an image: name one with --image, such as --image debian:12, or --dockerfile: %w", ci.ErrInvalid)
	}
	ref, note := image.Resolve(r.Image)
	if note != "" {
		p.tell("note: " + note)
	}
	if ref == image.Standard || ref == image.Minimal {
		if _, err := d.ImageInfo(ctx, ref); errors.Is(err, ci.ErrNotFound) {
			return nil, r, fmt.Errorf("environment %s: %w: build it with 'sluice env build %s': %w", ref, errNotBuilt, ref, ci.ErrNotFound)
		}
	}
	r.Image = ref
	return d, r, nil
}

// computeSize gives the limits of a runtime's compute type; zero for none.
func computeSize(r ci.Runtime) (cpus float64, memory int64, err error) {
	if r.Size == "" {
		return 0, 0, nil
	}
	cpus, memory, ok := image.Size(r.Size, r.Type)
	if !ok {
		return 0, 0, fmt.Errorf("size %q is no compute type: want BUILD_GENERAL1_SMALL, _MEDIUM, _LARGE, _XLARGE or _2XLARGE, or BUILD_LAMBDA_1GB to _10GB: %w", r.Size, ci.ErrInvalid)
	}
	return cpus, memory, nil
}

func (p *placer) tell(text string) {
	if _, told := p.told.LoadOrStore(text, true); !told {
		p.warn(text)
	}
}

// executor gives the executor of that name, to find a sandbox again.
func (p *placer) executor(name string) (ci.Executor, error) {
	if name == "docker" {
		return p.docker()
	}
	return p.local(), nil
}

// killAll ends all sandboxes of this process at once.
func (p *placer) killAll(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var work sync.WaitGroup
	for _, s := range p.open {
		work.Go(func() { _ = s.Close(ctx) }) // the runner closes it again and says what it finds
	}
	work.Wait()
}

// tracked is an executor whose sandboxes are remembered while they are open.
type tracked struct {
	ci.Executor
	p *placer
}

// Open is ci.Executor's.
func (t *tracked) Open(ctx context.Context, pl ci.Placement) (ci.Sandbox, error) {
	s, err := t.Executor.Open(ctx, pl)
	if err != nil {
		return nil, err
	}
	t.p.mu.Lock()
	t.p.open[pl.Job] = s
	t.p.mu.Unlock()
	if t.p.note != nil {
		t.p.note(pl.Job, t.Name(), pl.Runtime, s)
	}
	return s, nil
}
