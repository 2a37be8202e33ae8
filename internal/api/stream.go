package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sluice-ci/sluice/internal/ci"
)

// streamed is an answer that is written bit by bit.
type streamed struct{ Body func(huma.Context) }

// stream has write write an answer of the content type, whose end is the
// answer's only when write says so: else the connection is cut, and the client
// knows that there was more. Its context ends when the client is gone or
// EndStreams was called.
func (a *API) stream(contentType string, write func(ctx context.Context, w *streamWriter) error) *streamed {
	return &streamed{func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		u, _ := ci.UserFrom(r.Context())
		if !a.open.enter(u.Name, a.cfg.Streams) {
			a.fail(w, r, &ci.TooMany{What: "streams and downloads at once", After: a.cfg.Recheck})
			return
		}
		defer a.open.leave(u.Name)
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Accel-Buffering", "no") // proxies are to pass on what they have
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodHead {
			return
		}
		a.streaming.Add(1)
		defer a.streaming.Add(-1)
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		undo := make(chan struct{})
		watched := make(chan struct{})
		go func() { // ends with the stream, which waits for it
			defer close(watched)
			again := time.NewTicker(a.cfg.Recheck)
			defer again.Stop()
			for {
				select {
				case <-again.C:
					if a.mayStill(r) {
						continue
					}
					cancel(errLost)
				case <-a.stop:
					cancel(errStopping)
				case <-undo:
				}
				return
			}
		}()
		err := write(ctx, &streamWriter{w, http.NewResponseController(w).Flush})
		close(undo)
		<-watched
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			a.cfg.Log.Error("stream broke off", "incident", requestID(ctx), "path", r.URL.Path, "error", err)
		}
		panic(http.ErrAbortHandler)
	}}
}

// mayStill says whether who has a stream open would still be let in: the token is
// good, the user enabled, the project there to be seen. A store that does not
// answer ends nothing.
func (a *API) mayStill(r *http.Request) bool {
	ctx := r.Context()
	u, err := a.user(r)
	if project := r.PathValue("project"); err == nil && project != "" {
		_, err = a.cfg.App.Project(ci.WithUser(ctx, u), project)
	}
	return err == nil || ctx.Err() != nil || statusOfFault(err) != http.StatusUnauthorized && !errors.Is(err, ci.ErrDenied) && !errors.Is(err, ci.ErrNotFound)
}

var (
	errStopping = errors.New("the server stops")
	errLost     = errors.New("the user may not look at it any more")
)

// streamWriter writes, and sends what was written when it must be seen at once.
type streamWriter struct {
	http.ResponseWriter
	Flush func() error
}
