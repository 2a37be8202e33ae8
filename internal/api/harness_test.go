package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/auth"
	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
	"github.com/sluice-ci/sluice/internal/frontend/buildspec"
	"github.com/sluice-ci/sluice/internal/identity"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/runner"
	"github.com/sluice-ci/sluice/internal/secret"
	"github.com/sluice-ci/sluice/internal/source"
	"github.com/sluice-ci/sluice/internal/store"
)

// world is a server on loopback with a real store, engine and runner, whose
// commands are played by executortest.Script.
type world struct {
	t      testing.TB
	dir    string
	url    string
	api    *api.API
	app    *app.App
	auth   *auth.Auth
	store  *store.DB
	engine *engine.Engine
	script *executortest.Script
	logs   *logs.Store
	log    *syncBuffer
	admin  *client.Client
	token  string

	uploads *source.Uploads
	now     func() time.Time // of the front desk; nil = the clock's
}

// syncBuffer is a buffer for what several goroutines say.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newWorld(t testing.TB, change ...func(*api.Config)) *world {
	t.Helper()
	return newWorldWith(t, func(*app.Config) {}, change...)
}

// newWorldWith is newWorld with another front desk.
func newWorldWith(t testing.TB, desk func(*app.Config), change ...func(*api.Config)) *world {
	t.Helper()
	w := &world{t: t, dir: memory(t), log: &syncBuffer{}}
	ctx, stop := context.WithCancel(context.Background())
	var err error
	if w.store, err = store.OpenDB(ctx, filepath.Join(w.dir, "sluice.db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	if w.logs, err = logs.Open(filepath.Join(w.dir, "logs"), logs.Options{}); err != nil {
		t.Fatal(err)
	}
	safe, err := secret.OpenSafe(ctx, w.store, secret.KeyFile(filepath.Join(w.dir, "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	w.script = executortest.NewScript(filepath.Join(w.dir, "sandboxes"))
	blobs, err := blob.OpenDir(filepath.Join(w.dir, "uploads"))
	if err != nil {
		t.Fatal(err)
	}
	w.uploads = &source.Uploads{Blobs: blobs, Most: 1 << 20, Unpacked: 8 << 20, Quota: 4 << 20}
	fetcher := source.New(source.Options{Cache: filepath.Join(w.dir, "git"), Uploads: w.uploads})
	w.engine = engine.New(engine.Config{Store: w.store, Fronts: []ci.FrontEnd{buildspec.New()}, Fetcher: fetcher, Compilers: 2})
	output := func(id ci.JobID) string { return filepath.Join(w.dir, "out", filepath.FromSlash(string(id))) }
	r := runner.New(runner.Config{
		Slots: 4, Desk: w.engine, Fetcher: fetcher, Logs: w.logs, Output: output, Packaging: runner.Folder, AnyRuntime: true,
		Secrets: func(b ci.Build) ci.SecretSource { return w.app.SecretsOf(b) },
		Identity: func(ctx context.Context, b ci.Build) ([]ci.Variable, []string, error) {
			return w.app.IdentityOf(ctx, b, w.url)
		},
		Place: func(_ context.Context, r ci.Runtime) (ci.Executor, ci.Runtime, error) { return w.script, r, nil },
	})
	var work sync.WaitGroup
	work.Go(func() {
		if err := w.engine.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("engine: %v", err)
		}
	})
	work.Go(func() {
		if err := r.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("runner: %v", err)
		}
	})
	w.auth = auth.New(w.store, nil)
	front := app.Config{
		Engine: w.engine, Store: w.store, Logs: w.logs, Output: output, Tokens: w.auth, Uploads: w.uploads,
		Seal: func(_ context.Context, name, value string) (string, error) {
			return "sealed " + name + " " + value, nil
		},
		Try: func(_ context.Context, t ci.Target, _ ci.Notice) error {
			if t.Kind != ci.TargetWebhook {
				return fmt.Errorf("no %s today: %w", t.Kind, ci.ErrUnavailable)
			}
			return nil
		},
		Now: func() time.Time {
			if w.now != nil {
				return w.now()
			}
			return time.Now()
		},
		Identity: identity.New(identity.Config{Safe: safe, Records: w.store, URL: func() string { return w.url }, Build: w.engine.Build, Project: w.store.Project}),
		Secrets:  safe, Further: map[string]ci.SecretSource{ci.SourceServer: secret.Given{"/server/own": "the server's"}},
		Discard: func(_ context.Context, id ci.BuildID, part string) error {
			if part != ci.PartArtifacts {
				if err := w.logs.Remove(id); err != nil || part == ci.PartLogs {
					return err
				}
			}
			return os.RemoveAll(filepath.Join(w.dir, "out", string(id)))
		},
	}
	desk(&front)
	w.app = app.New(front)
	work.Go(func() {
		if err := w.app.FollowUp(ctx, slog.New(slog.NewTextHandler(w.log, nil))); err != nil {
			t.Errorf("follow up: %v", err)
		}
	})
	if _, err := w.auth.Bootstrap(ctx, func(s string) error { w.token = s; return nil }); err != nil {
		t.Fatal(err)
	}
	identify := func(ctx context.Context, token string) (ci.User, error) {
		if strings.HasPrefix(token, identity.Prefix) {
			return w.app.Identify(ctx, token)
		}
		return w.auth.Identify(ctx, token)
	}
	c := api.Config{App: w.app, Identify: identify, Version: "test", Log: slog.New(slog.NewTextHandler(w.log, nil))}
	for _, f := range change {
		f(&c)
	}
	w.api = api.New(c)
	w.url = w.serve(w.api.Server())
	w.admin = w.client(w.token)
	t.Cleanup(func() {
		stop()
		work.Wait()
		if err := errors.Join(w.store.Close(), w.logs.Close()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("server's log:\n%s", w.log)
		}
	})
	return w
}

// memory is a folder in memory where there is one.
func memory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "sluice-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve has a server listen until the test ends.
func (w *world) serve(s *http.Server) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	w.t.Cleanup(func() {
		w.api.EndStreams()
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			w.t.Errorf("serve: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

func (w *world) client(token string) *client.Client {
	w.t.Helper()
	c, err := client.New(w.url, token, client.WithRetry(client.Retry{First: time.Millisecond, Most: 5 * time.Millisecond, Attempts: 5, Silence: 20 * time.Second}))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// user makes a user with a token.
func (w *world) user(u ci.User, scopes ...string) string {
	w.t.Helper()
	if _, err := w.store.PutUser(w.t.Context(), u); err != nil {
		w.t.Fatal(err)
	}
	secret, _, err := w.auth.Issue(w.t.Context(), ci.Token{User: u.Name, Scopes: scopes})
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// userID makes a user with a token, and gives the ID of that.
func (w *world) userID(u ci.User) string {
	w.t.Helper()
	w.user(u)
	all, err := w.store.Tokens(w.t.Context(), u.Name)
	if err != nil || len(all) != 1 {
		w.t.Fatalf("got %d tokens, %v", len(all), err)
	}
	return all[0].ID
}

// target makes a target, of the project or of all.
func (w *world) target(ofProject bool, project, name string) string {
	w.t.Helper()
	if !ofProject {
		project = ""
	}
	if _, _, err := w.store.PutTarget(w.t.Context(), ci.Target{Name: name, Project: project, Kind: ci.TargetWebhook, URL: "https://example.com/hook"}, nil); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// project makes one whose definition is a spec without its version line.
func (w *world) project(name, spec string) client.Project {
	w.t.Helper()
	dir := w.file(name, "buildspec.yml", "version: 0.2\n"+spec)
	p, err := w.admin.CreateProject(w.t.Context(), client.Project{Name: name, Source: client.Source{Type: "directory", Location: dir}})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// file puts a file into the source of a project, and gives where that is.
func (w *world) file(project, name, text string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "source", project)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (w *world) start(project string, s client.StartBuild) client.Build {
	w.t.Helper()
	b, made, err := w.admin.StartBuild(w.t.Context(), project, s)
	if err != nil || !made {
		w.t.Fatalf("start a build of %s: made %v, %v", project, made, err)
	}
	return b
}

// done waits for the end of a build.
func (w *world) done(project string, number int64) client.Build {
	w.t.Helper()
	if err := w.admin.Events(w.t.Context(), project, number, 0, func(client.Event) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
	b, err := w.admin.Build(w.t.Context(), project, number)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) readLog(project string, number int64, o client.LogOptions) string {
	w.t.Helper()
	r, err := w.admin.Log(w.t.Context(), project, number, o)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// audit is what was done so far, the oldest first.
func (w *world) audit() []ci.AuditEntry {
	w.t.Helper()
	all, _, err := w.store.Audit(w.t.Context(), store.AuditFilter{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// wantError checks how a call was refused, and gives the error.
func wantError(t testing.TB, err error, status int, code, text string) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want status %d (%s)", err, status, code)
	}
	if e.Status != status || e.Code != code || !strings.Contains(e.Error(), text) {
		t.Fatalf("got %d %s: %v; want %d %s: …%s…", e.Status, e.Code, e, status, code, text)
	}
	return e
}

// raw sends a request as it stands and gives status, header and body.
func (w *world) raw(method, path, token, body string, header ...string) (int, http.Header, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// secret keeps one of that name in a project, or as a global one.
func (w *world) secret(project, name string) {
	w.t.Helper()
	if _, err := w.admin.SetSecret(w.t.Context(), project, client.NewSecret{Name: name, Value: "hush of " + name}); err != nil {
		w.t.Fatal(err)
	}
}

func viewer() ci.User { return ci.User{Name: "viewer", Role: ci.RoleViewer} }
