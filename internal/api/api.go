package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// Prefix is the path below which the API is.
const Prefix = "/api/v1"

// Config is what the API works with. App and Identify are needed.
type Config struct {
	App *app.App
	// Identify finds the user of a token; a token that is no good is ci.ErrDenied.
	Identify  func(ctx context.Context, token string) (ci.User, error)
	Version   string        // of this program
	Heartbeat time.Duration // of streams of events; 0 = 15 s
	Patience  time.Duration // for a client to take what it is sent, or to send its body; 0 = 2 minutes
	Log       *slog.Logger  // nil = nowhere
	URL       func() string // at which others reach this server; nil = not known
	// Rate is how many requests each token may make in a second, twice that at
	// once; 0 = any number.
	Rate    float64
	Streams int            // that a user may have open at once; 0 = any number
	Recheck time.Duration  // how often it is looked whether who has a stream open still may; 0 = 5 s
	Proxies []netip.Prefix // whose X-Forwarded-For is believed
}

// API serves Prefix, /healthz and /readyz. It is an http.Handler.
type API struct {
	cfg  Config
	mux  *http.ServeMux
	huma huma.API

	stop    chan struct{} // closed when streams must end
	stopped sync.Once

	known, anonymous *buckets
	open             counts

	streaming atomic.Int64
}

// New makes the API.
func New(c Config) *API {
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Minute
	}
	if c.Recheck == 0 {
		c.Recheck = 5 * time.Second
	}
	if c.URL == nil {
		c.URL = func() string { return "" }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: c, mux: http.NewServeMux(), stop: make(chan struct{}),
		known: newBuckets(c.Rate, c.Rate*burstSeconds), anonymous: newBuckets(c.Rate/anonymousPart, max(c.Rate/anonymousPart, 1)*anonymousBurst),
		open: counts{all: map[string]int{}},
	}
	a.huma = humago.NewWithPrefix(routes{a.mux}, Prefix, a.document())
	a.projects()
	a.builds()
	a.uploads()
	a.logs()
	a.lines()
	a.retention()
	a.reports()
	a.results()
	a.users()
	a.tokens()
	a.secrets()
	a.nodes()
	a.identity()
	a.audit()
	a.usage()
	a.groups()
	a.logins()
	a.sso()
	a.pages()
	a.why()
	a.budgets()
	a.load()
	a.targets()
	a.finishDocument()
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plainText(w, "ok\n") })
	a.mux.HandleFunc("GET /readyz", a.ready)
	return a
}

// Server makes a server of the handler, with limits that suit streams: what a
// client takes its time with is limited write by write (Config.Patience). Its
// Shutdown ends the streams, which clients then take up again elsewhere.
func (a *API) Server() *http.Server {
	s := &http.Server{
		Handler: a, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug),
	}
	s.RegisterOnShutdown(a.EndStreams)
	return s
}

// EndStreams breaks off all streams, for good.
func (a *API) EndStreams() { a.stopped.Do(func() { close(a.stop) }) }

// Streams is how many answers are being streamed.
func (a *API) Streams() int64 { return a.streaming.Load() }

// OpenAPI is the description of the API, as it is served at /api/v1/openapi.json.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

func (a *API) ready(w http.ResponseWriter, r *http.Request) {
	select {
	case <-a.stop: // who asks is to send others elsewhere
		http.Error(w, "not ready: the server stops", http.StatusServiceUnavailable)
		return
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	if err := a.cfg.App.Ready(ctx); err != nil {
		a.cfg.Log.Warn("not ready", "error", err)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "not ready: the store does not answer", http.StatusServiceUnavailable)
		return
	}
	plainText(w, "ready\n")
}

func plainText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text))
}

// routes makes the parameters that may hold slashes match the rest of the path,
// which OpenAPI has no words for.
type routes struct{ *http.ServeMux }

func (m routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	if strings.HasSuffix(pattern, "/{path}") {
		pattern = strings.TrimSuffix(pattern, "}") + "...}"
	}
	m.ServeMux.HandleFunc(pattern, h)
}

func (a *API) document() huma.Config {
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Sluice", Version: a.cfg.Version,
			Description: "Projects, builds, logs, artifacts and reports of a Sluice server, its users and their tokens.\n\n" +
				"Lists come in pages: `next` is the `after` of the next page, and is not there at the end. " +
				"Times of limits are in nanoseconds. Errors are application/problem+json; programs go by their `code`.",
		},
		Components: &huma.Components{
			Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "A token of Sluice, slu_…"}},
		},
		Security: []map[string][]string{{"token": {}}},
	}
	c := huma.Config{
		OpenAPI: doc, OpenAPIPath: "", Formats: huma.DefaultFormats, DefaultFormat: "application/json",
		RejectUnknownQueryParameters: true, Transformers: []huma.Transformer{a.translate},
	}
	c.FieldsOptionalByDefault = true // what a request lacks, app says, all at once
	return c
}

// finishDocument puts our errors in the place of huma's, and serves the document.
func (a *API) finishDocument() {
	doc := a.huma.OpenAPI()
	registry := doc.Components.Schemas
	problem := registry.Schema(reflect.TypeFor[Fault](), true, "Fault")
	delete(registry.Map(), "ErrorModel")
	delete(registry.Map(), "ErrorDetail")
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Delete} {
			if op == nil {
				continue
			}
			for code := range op.Responses {
				if code == "default" || code >= "400" {
					delete(op.Responses, code)
				}
			}
			op.Responses["default"] = &huma.Response{
				Description: "What went wrong, and what to do.",
				Content:     map[string]*huma.MediaType{problemType: {Schema: problem}},
			}
		}
	}
	text := sync.OnceValues(doc.MarshalJSON)
	a.mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		body, err := text()
		if err != nil {
			a.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(body)
	})
}

// register adds an operation. Every operation of the API comes through here.
func register[I, O any](a *API, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	op.MaxBodyBytes = -1 // the body is read and limited before huma sees it
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}
