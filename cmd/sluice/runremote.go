package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/source"
)

// remoteRun is `sluice run --remote`: the files are here, the build is there.
type remoteRun struct {
	flags  *runFlags
	req    *request
	c      *client.Client
	screen *screen
}

// hereOnly are the flags of sluice run that say how this machine is to build.
func hereOnly() []string {
	return []string{"secret", "isolation", "network", "any-runtime", "output", "packaging", "cache", "keep", "shell", "number", "initiator", "dockerfile"}
}

// runRemote builds on the server, and ends with the build's exit code.
func (f *runFlags) runRemote(ctx context.Context, fs *pflag.FlagSet, dir string) error {
	var wrong []error
	for _, name := range hereOnly() {
		if fs.Changed(name) {
			wrong = append(wrong, fmt.Errorf("--%s is for builds on this machine: leave it out with --remote", name))
		}
	}
	if len(wrong) > 0 {
		return &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	env, err := surroundings()
	if err != nil {
		return err
	}
	req, err := f.check(dir, env)
	if err != nil {
		return err
	}
	c, err := f.server.connect()
	if err != nil {
		return err
	}
	r := &remoteRun{flags: f, req: req, c: c, screen: newScreen(f, env, func(s string) string { return s })}
	return refused(r.run(ctx, env))
}

func (r *remoteRun) run(ctx context.Context, env environment) error {
	project := r.flags.project
	if project == "" {
		project = projectName(r.req.source.Location)
	}
	if _, err := r.c.Project(ctx, project); err != nil {
		if client.IsNotFound(err) {
			return usagef("the server has no project %q: name another with --project, or make it with 'sluice project create %s --source upload'", project, project)
		}
		return err
	}
	src := source.New(source.Options{Cache: env.home + "/git", Exclude: []string{r.req.output}, Credentials: r.req.credentials})
	if err := resolveFirst(ctx, src, r.req.source); err != nil {
		return err
	}
	sent, err := r.send(ctx, src, project)
	if err != nil {
		return err
	}
	b, _, err := r.c.StartBuild(ctx, project, r.start(sent))
	if err != nil {
		return err
	}
	return r.follow(ctx, b)
}

// send packs the files and sends them, unless the server has them already.
func (r *remoteRun) send(ctx context.Context, src *source.Fetcher, project string) (client.Source, error) {
	f, err := os.CreateTemp("", "sluice-upload-")
	if err != nil {
		return client.Source{}, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // it is ours as long as it is open
		return client.Source{}, err
	}
	sum := sha256.New()
	if _, err := src.Pack(ctx, r.req.source, io.MultiWriter(f, sum)); err != nil {
		return client.Source{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return client.Source{}, err
	}
	u, sent, err := r.c.Upload(ctx, project, hex.EncodeToString(sum.Sum(nil)), size, f)
	if err == nil && !r.flags.json && !r.flags.quiet {
		what := "sent " + show.Bytes(u.Size)
		if !sent {
			what = "the server has these files already"
		}
		warn(what)
	}
	return u.Source, err
}

// start is what the flags say of the build.
func (r *remoteRun) start(s client.Source) client.StartBuild {
	rt := r.req.runtime
	out := client.StartBuild{
		Source: &s, File: r.flags.file,
		Runtime: client.Runtime{
			Executor: rt.Executor, Image: rt.Image, Size: rt.Size, CPUs: rt.CPUs, Memory: rt.Memory, Processes: rt.Processes, Privileged: rt.Privileged,
		},
		Limits: client.Limits{Timeout: r.flags.timeout, Jobs: r.flags.jobs},
	}
	if r.flags.batch {
		out.Batch = &r.flags.batch
	}
	for _, v := range r.req.variables {
		out.Variables = append(out.Variables, client.Variable{Name: v.Name, Value: v.Value, Kind: string(v.Kind)})
	}
	return out
}

// follow shows the build as one on this machine would be shown.
func (r *remoteRun) follow(ctx context.Context, b client.Build) error {
	if !r.flags.json && !r.flags.quiet {
		warn(fmt.Sprintf("build %s/%d", b.Project, b.Number))
	}
	undo := r.onSignals(ctx, b)
	logs := &farLogs{c: r.c, project: b.Project, number: b.Number}
	err := r.screen.run(ctx, func(ctx context.Context, f func(ci.Event) bool) error {
		return r.c.Events(ctx, b.Project, b.Number, 0, func(e client.Event) error {
			f(ci.Event{
				Seq: e.Seq, Time: e.Time, Type: ci.EventType(e.Type), Build: ci.BuildID(e.Build), Job: ci.JobID(e.Job), Step: ci.StepID(e.Step),
				Status: ci.Status(e.Status), Data: e.Data,
			})
			return nil
		})
	}, logs)
	undo()
	if err != nil {
		return fmt.Errorf("%w; the build goes on: look at it with 'sluice build show %s/%d'", err, b.Project, b.Number)
	}
	end, err := r.c.Build(ctx, b.Project, b.Number)
	if err != nil {
		return err
	}
	rec, err := recordOf(end)
	if err != nil {
		return err
	}
	var notes []string
	for _, j := range rec.Jobs {
		if len(j.Artifacts) > 0 {
			notes = append(notes, fmt.Sprintf("the artifacts are on the server: sluice artifact list %s/%d", b.Project, b.Number))
			break
		}
	}
	r.screen.summary(ctx, show.Ending{Build: rec, Logs: logs, Notes: notes})
	if err := r.screen.err(); err != nil {
		return err
	}
	return said(codeOfBuild(rec))
}

// recordOf makes the record of a build from its form on the wire.
func recordOf(b client.Build) (*ci.Build, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("read build: %w", err)
	}
	var rec ci.Build
	if err := json.Unmarshal(text, &rec); err != nil {
		return nil, fmt.Errorf("read build: %w", err)
	}
	return &rec, nil
}

// farLogs reads the logs of a build's steps from the server.
type farLogs struct {
	c       *client.Client
	project string
	number  int64
}

// Tail follows the log of a step.
func (l *farLogs) Tail(ctx context.Context, id ci.StepID, from int64) (io.ReadCloser, error) {
	_, path, _ := strings.Cut(string(id), "/")
	return l.c.StepLog(ctx, l.project, l.number, path, client.LogOptions{From: from, Follow: true})
}

// Size tells how long a log is, and whether it is whole.
func (l *farLogs) Size(id ci.StepID) (int64, bool) {
	_, path, _ := strings.Cut(string(id), "/")
	jobs, err := l.c.Steps(context.Background(), l.project, l.number)
	if err != nil {
		return 0, false
	}
	var find func([]client.StepNode) *client.LogInfo
	find = func(nodes []client.StepNode) *client.LogInfo {
		for _, n := range nodes {
			if n.Path == path && n.Log != nil {
				return n.Log
			}
			if info := find(n.Steps); info != nil {
				return info
			}
		}
		return nil
	}
	for _, j := range jobs {
		if info := find(j.Steps); info != nil {
			return info.Size, info.Sealed
		}
	}
	return 0, false
}

// onSignals has the server stop the build at the first signal, and lets it be at
// the second.
func (r *remoteRun) onSignals(ctx context.Context, b client.Build) (undo func()) {
	got := make(chan os.Signal, 3)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; {
			select {
			case sig := <-got:
				if sig == syscall.SIGPIPE && n > 0 {
					continue // every further line brings one
				}
			case <-done:
				return
			}
			if n++; n > 1 {
				os.Exit(exitCanceled)
			}
			if _, err := r.c.StopBuild(context.WithoutCancel(ctx), b.Project, b.Number); err != nil {
				warn("stop the build: " + err.Error())
			}
		}
	}()
	return func() {
		signal.Stop(got)
		close(done)
		<-ended
	}
}
