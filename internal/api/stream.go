package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
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
			select {
			case <-a.stop:
				cancel(errStopping)
			case <-undo:
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

var errStopping = errors.New("the server stops")

// streamWriter writes, and sends what was written when it must be seen at once.
type streamWriter struct {
	http.ResponseWriter
	Flush func() error
}
