package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/auth"
	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/image"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/notify"
	"github.com/sluice-ci/sluice/internal/runner"
	"github.com/sluice-ci/sluice/internal/secret"
	"github.com/sluice-ci/sluice/internal/source"
	"github.com/sluice-ci/sluice/internal/store"
)

// server is `sluice serve`: the parts, wired.
type server struct {
	cfg serverConfig
	env environment
	log *slog.Logger

	db      *store.DB
	logs    *logs.Store
	blobs   ci.Blobs
	fetcher *source.Fetcher
	engine  *engine.Engine
	runner  *runner.Runner
	placer  *placer
	auth    *auth.Auth
	desk    *app.App
	safe    *secret.Safe
	sealer  *secret.Sealer
	api     *api.API

	notifier  *notify.Notifier
	gauges    *gauges
	metricsAt net.Listener // of metrics without a token; nil = none
}

// compilers is how many definitions are read and compiled at once. Most of the
// time they wait for git.
const compilers = 16

func openServer(ctx context.Context, cfg serverConfig, env environment, log *slog.Logger) (s *server, err error) {
	s = &server{cfg: cfg, env: env, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.MkdirAll(cfg.data, 0o700); err != nil {
		return s, fmt.Errorf("data folder: %w; choose another with --data", err)
	}
	s.gauges = newGauges()
	observe := func(changes int, took time.Duration) {
		s.gauges.commits.Observe(took.Seconds())
		s.gauges.groups.Observe(float64(changes))
	}
	if s.db, err = store.OpenDB(ctx, cfg.database, store.Options{Log: log, Observe: observe}); err != nil {
		return s, err
	}
	var caches ci.Blobs
	if s.blobs, caches, err = openBlobs(ctx, cfg); err != nil {
		return s, err
	}
	ofLogs := logs.Options{Patience: 10 * time.Second, Written: func(n int) { s.gauges.written.Add(int64(n)) }}
	if cfg.sharesBlobs() {
		ofLogs.Blobs = s.blobs
	}
	if s.logs, err = logs.Open(s.path("logs"), ofLogs); err != nil {
		return s, err
	}
	uploads := cfg.uploads
	uploads.Blobs = s.blobs
	s.fetcher = source.New(source.Options{Cache: s.path("git"), Uploads: &uploads})
	node, shared, err := s.node()
	if err != nil {
		return s, err
	}
	s.engine = engine.New(engine.Config{
		Store: observed{s.db, s.gauges}, Shared: shared, Node: node, Fronts: frontEnds(), Fetcher: s.fetcher, Log: log,
		Capacity: cfg.capacity, Demand: demand, Rate: cfg.prices.Rate, Compilers: compilers, Adopt: s.adopt, Guard: true, Delay: 20 * time.Millisecond,
	})
	s.placer = newPlacer(cfg.data, func(text string) { log.Warn(text) })
	if s.safe, err = secret.OpenSafe(ctx, s.db, cfg.masterKey.keys()); err != nil {
		return s, err
	}
	further, err := furtherSecrets(env, cfg.vault)
	if err != nil {
		return s, err
	}
	s.sealer = secret.NewSealer(s.safe, s.db, "#sealed")
	s.runner = runner.New(runner.Config{
		Name: "local", Slots: cfg.jobs, Desk: runner.Patient(s.engine, time.Second, log),
		Fetcher: s.fetcher, Logs: s.logs, Secrets: func(b ci.Build) ci.SecretSource { return passwords{s.desk.SecretsOf(b), b.Project, s.sealer.Unseal} }, Caches: caches, Blobs: s.blobs,
		Place: s.placer.place, AnyRuntime: cfg.anyRuntime, Packaging: runner.Zip,
		Output: s.output, Variables: s.variables, Log: log,
		Left: s.leave, Identity: s.identityOf,
		Fault: func(id ci.JobID, err error) { log.Error("the end of a job was refused", "job", id, "err", err) },
	})
	s.auth = auth.New(s.db, nil)
	sso, err := s.sso()
	if err != nil {
		return s, err
	}
	if s.notifier, err = s.newNotifier(); err != nil {
		return s, err
	}
	s.desk = app.New(app.Config{Engine: s.engine, Node: node.Name, Store: s.db, Logs: s.logs, Blobs: s.blobs, Output: s.output, Tokens: s.auth, Discard: s.discard, SessionLife: cfg.session, Currency: cfg.prices.Currency, Uploads: &uploads,
		Seal: s.sealer.Seal, Try: s.tryTarget, Secrets: s.safe, Further: further, SSO: sso, Retention: cfg.retention, Identity: s.issuer()})
	s.api = api.New(api.Config{
		App:      s.desk,
		Identify: s.identify, Version: version, Log: log, URL: func() string { return s.cfg.url }, Rate: cfg.rate, Streams: cfg.streams, Proxies: cfg.proxies,
	})
	s.gauges.read(s)
	return s, nil
}

// leave removes the local sandbox of a job that another server has taken: that one
// cannot reach it.
func (s *server) leave(ctx context.Context, id ci.JobID) {
	if err := s.placer.local().Sweep(ctx, func(other ci.JobID) bool { return other != id }); err != nil {
		s.log.Warn("the sandbox of a job that another server took stays until the next start", "job", id, "err", err)
	}
}

func (s *server) path(name string) string { return filepath.Join(s.cfg.data, name) }

// output is the folder of a job's artifacts and reports.
func (s *server) output(id ci.JobID) string {
	return filepath.Join(s.path("builds"), string(id.Build()), id.Name())
}

// discard removes what a deleted build, or a part of one, has outside of the database.
func (s *server) discard(ctx context.Context, id ci.BuildID, part string) error {
	output := filepath.Join(s.path("builds"), string(id))
	switch part {
	case ci.PartLogs:
		return errors.Join(deleteBlobs(ctx, s.blobs, id, "logs"), s.logs.Remove(id))
	case ci.PartArtifacts:
		return errors.Join(deleteBlobs(ctx, s.blobs, id, "artifacts"), os.RemoveAll(output))
	}
	return errors.Join(s.blobs.Delete(ctx, id.Blobs()), s.logs.Remove(id), os.RemoveAll(output))
}

// demand is what a job takes of the machine: what its compute size says, or what
// it names itself.
func demand(r ci.Runtime) engine.Demand {
	d := engine.Demand{CPUs: r.CPUs, Memory: r.Memory}
	if cpus, memory, ok := image.Size(r.Size, r.Type); ok && r.Size != "" {
		if d.CPUs == 0 {
			d.CPUs = cpus
		}
		if d.Memory == 0 {
			d.Memory = memory
		}
	}
	return d
}

// variables are those of this service beside CodeBuild's.
func (s *server) variables(a ci.Assignment) []ci.Variable {
	return append(s.traceParent(a), ci.Variable{
		Name:  "CODEBUILD_BUILD_URL",
		Value: fmt.Sprintf("%s/projects/%s/builds/%d", s.cfg.url, a.Build.Project, a.Build.Number),
	})
}

// recover takes up what an earlier process left, and removes what belongs to no
// build any more.
func (s *server) recover(ctx context.Context) error {
	if err := s.safe.Settle(ctx); err != nil {
		s.log.Warn("not all secrets can be read", "err", err)
	}
	if err := s.engine.Recover(ctx); err != nil {
		return err
	}
	open, err := s.db.Open(ctx)
	if err != nil {
		return err
	}
	live := map[ci.BuildID]bool{}
	for _, b := range open {
		live[b.ID] = true
	}
	if len(open) > 0 {
		s.log.Info("taking up builds that were not done", "builds", len(open))
	}
	owned := func(id ci.JobID) bool { return live[id.Build()] }
	if err := s.placer.local().Sweep(ctx, owned); err != nil {
		s.log.Warn("sandboxes that nobody owns stay for now", "err", err)
	}
	if bucket, ok := s.blobs.(*blob.S3); ok {
		if err := bucket.Sweep(ctx, blob.Abandoned); err != nil {
			s.log.Warn("uploads that killed servers left stay for now", "err", err)
		}
	}
	if err := sweepEngine(ctx, s.placer, owned); err != nil {
		s.log.Warn("containers that nobody owns stay for now", "err", err)
	}
	return nil
}

// run serves until ctx ends. Jobs that run then go on in their sandboxes, and
// the next process takes them up.
func (s *server) run(ctx context.Context, serve ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	parts := append(serve,
		s.engine.Run, s.runner.Run, s.keepAhead, s.followUp, s.trim, s.packLogs,
		s.notifier.Run, s.serveMetrics, s.trace,
	)
	errs := make([]error, len(parts))
	for i, part := range parts {
		work.Go(func() {
			defer stop() // one without the others is no server
			errs[i] = part(ctx)
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// followUp does what comes of builds.
func (s *server) followUp(ctx context.Context) error { return s.desk.FollowUp(ctx, s.log) }

// keepAhead makes sandboxes ahead, where sandboxes can be made.
func (s *server) keepAhead(ctx context.Context) error {
	if s.cfg.ahead > 0 {
		if err := s.placer.local().Keep(ctx, s.cfg.ahead); err != nil {
			s.log.Warn("no sandboxes are made ahead; builds do without", "err", err)
		}
	}
	<-ctx.Done()
	return nil
}

func (s *server) close() error {
	var errs []error
	if s.logs != nil {
		errs = append(errs, s.logs.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(errs...)
}
