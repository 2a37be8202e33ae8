package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Store is where builds are read from, and where it is kept how far: store.DB.
type Store interface {
	Changed() <-chan struct{}
	Happened(ctx context.Context, after int64, limit int, types ...ci.EventType) (list []ci.Stamped, upTo int64, err error)
	Load(ctx context.Context, id ci.BuildID) (ci.Build, []ci.Event, error)
	// Position is how far the reader of that name has come: the end, when it is new.
	Position(ctx context.Context, reader string) (int64, error)
	MoveTo(ctx context.Context, reader string, position int64) error
}

// Config is what an Exporter works with. Store and URL are needed.
type Config struct {
	Store   Store
	URL     string      // of the collector, such as http://127.0.0.1:4318
	Header  http.Header // of requests, such as Authorization
	Version string      // of this program
	// Lease takes or renews, for a time, the right to be the one process that
	// exports; an error says that another has it. nil = there is no other.
	Lease func(ctx context.Context, length time.Duration) error
	First time.Duration // pause behind the first failure, then twice as long each time; 0 = 1 s
	Most  time.Duration // the longest pause; 0 = 1 min
	Log   *slog.Logger  // nil = nowhere
}

// Exporter sends traces of builds that ended.
type Exporter struct {
	cfg  Config
	to   string
	http *http.Client
}

// New makes an exporter.
func New(c Config) (*Exporter, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("collector of traces: want an address such as http://127.0.0.1:4318: %w", ci.ErrInvalid)
	}
	if c.First == 0 {
		c.First = time.Second
	}
	if c.Most == 0 {
		c.Most = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	to := strings.TrimRight(c.URL, "/")
	if !strings.HasSuffix(to, "/v1/traces") {
		to += "/v1/traces"
	}
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Exporter{cfg: c, to: to, http: client}, nil
}

const (
	reader      = "traces"
	atOnce      = 20 // builds in one look
	leaseLength = 20 * time.Second
)

// errRefused: the collector will not take this, however often it is sent.
var errRefused = errors.New("the collector refuses the trace")

// Run sends what ended since it was last running, and what ends, until ctx ends.
// A collector that is away is waited for; what it refuses is passed over.
func (x *Exporter) Run(ctx context.Context) error {
	pause := x.cfg.First
	for ctx.Err() == nil {
		changed := x.cfg.Store.Changed()
		more, err := x.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ci.ErrConflict): // another process exports
			sleep(ctx, leaseLength/2)
		case err != nil:
			x.cfg.Log.Warn("traces are held up; trying again", "err", err, "in", pause)
			sleep(ctx, pause)
			pause = min(2*pause, x.cfg.Most)
		case more:
			pause = x.cfg.First
		default:
			pause = x.cfg.First
			sleep(ctx, x.cfg.First/10) // commits come in hundreds a second
			timer := time.NewTimer(leaseLength / 2)
			select {
			case <-changed:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// round sends some builds. more says that there may be others.
func (x *Exporter) round(ctx context.Context) (more bool, err error) {
	if x.cfg.Lease != nil {
		if err := x.cfg.Lease(ctx, leaseLength); err != nil {
			return false, err
		}
	}
	at, err := x.cfg.Store.Position(ctx, reader)
	if err != nil {
		return false, err
	}
	events, upTo, err := x.cfg.Store.Happened(ctx, at, atOnce, ci.EventBuildFinished)
	if err != nil || upTo == at {
		return false, err
	}
	for _, e := range events {
		b, _, err := x.cfg.Store.Load(ctx, e.Build)
		if errors.Is(err, ci.ErrNotFound) {
			continue // deleted since
		}
		if err == nil {
			err = x.Send(ctx, b)
		}
		if errors.Is(err, errRefused) {
			x.cfg.Log.Error("a trace is lost", "build", e.Build, "err", err)
			err = nil
		}
		if err != nil {
			return false, err
		}
	}
	if len(events) == 0 && upTo-at < 10_000 {
		return false, nil // nothing to tell is not worth a write
	}
	return len(events) == atOnce, x.cfg.Store.MoveTo(ctx, reader, upTo)
}

// Send sends the trace of a build that is done.
func (x *Exporter) Send(ctx context.Context, b ci.Build) error {
	name := attributesOf(x.cfg.Version)
	body, err := json.Marshal(request{[]resourceSpans{{
		Resource: resource{name}, ScopeSpans: []scopeSpans{{Scope: scope{"sluice", x.cfg.Version}, Spans: spansOf(b)}},
	}}})
	if err != nil {
		return fmt.Errorf("trace of build %s: %w: %w", b.ID, errRefused, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.to, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("trace of build %s: %w", b.ID, err)
	}
	for k, v := range x.cfg.Header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sluice/"+x.cfg.Version)
	resp, err := x.http.Do(req)
	if err != nil {
		return fmt.Errorf("trace of build %s: %w", b.ID, err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // for a person to read
	switch s := resp.StatusCode; {
	case s/100 == 2:
		return nil
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, s >= 500:
		return fmt.Errorf("trace of build %s: the collector answers %s: %q", b.ID, resp.Status, said)
	default:
		return fmt.Errorf("trace of build %s: %w: %s: %q", b.ID, errRefused, resp.Status, said)
	}
}

func attributesOf(version string) []attribute {
	return []attribute{text("service.name", "sluice"), text("service.version", version)}
}
