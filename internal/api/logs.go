package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

const (
	textType  = "text/plain; charset=utf-8"
	eventType = "text/event-stream"
	bytesType = "application/octet-stream"
)

// produces describes an answer that is not JSON.
func produces(contentType, description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: description,
		Content:     map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
}

func (a *API) logs() {
	desk := a.cfg.App
	const build = "/projects/{project}/builds/{number}"
	register(a, huma.Operation{OperationID: "followEvents", Method: http.MethodGet, Path: build + "/events", Summary: "Follow the events of a build",
		Description: "Server-sent events: each has the event's number as its id, its type as its name and the event as JSON in its data. " +
			"`Last-Event-ID` goes on behind that one. Behind the last event of a build that is done comes one named `end`.",
		Responses: produces(eventType, "The events, until the build is done.")},
		func(ctx context.Context, in *struct {
			InBuild
			Last  string `header:"Last-Event-ID" maxLength:"20" doc:"number of the last event that was seen"`
			After int64  `query:"after" minimum:"0" doc:"the same, for those who cannot set headers"`
		}) (*streamed, error) {
			after := in.After
			if in.Last != "" {
				n, err := strconv.ParseInt(in.Last, 10, 64)
				if err != nil || n < 0 {
					p := newProblem(http.StatusUnprocessableEntity, "Last-Event-ID is not the number of an event")
					p.Errors = []FaultField{{"header.Last-Event-ID", "want a number, 0 or more"}}
					return nil, p
				}
				after = n
			}
			follow, err := desk.Events(ctx, in.Project, in.Number)
			if err != nil {
				return nil, err
			}
			return a.stream(eventType, func(ctx context.Context, w *streamWriter) error {
				return a.sendEvents(ctx, w, func(ctx context.Context, send func(message) error) error { return sendAll(ctx, follow, after+1, send) })
			}), nil
		})
	register(a, huma.Operation{OperationID: "getLog", Method: http.MethodGet, Path: build + "/log", Summary: "Read or follow the log of a build",
		Description: "The output of the build's commands, step after step and job after job. A byte keeps its place.",
		Responses:   produces(textType, "The log from that byte on.")},
		func(ctx context.Context, in *struct {
			InBuild
			From   int64 `query:"from" minimum:"0" doc:"byte from which on"`
			Follow bool  `query:"follow" doc:"wait for more until the build is done"`
			All    bool  `query:"all" doc:"also headings, and what Sluice itself did"`
		}) (*streamed, error) {
			write, err := desk.Log(ctx, in.Project, in.Number, app.LogQuery{From: in.From, Follow: in.Follow, All: in.All})
			if err != nil {
				return nil, err
			}
			return a.stream(textType, func(ctx context.Context, w *streamWriter) error {
				return write(ctx, w, flushing(w, in.Follow))
			}), nil
		})
	register(a, huma.Operation{OperationID: "getStepLog", Method: http.MethodGet, Path: build + "/log/{path}", Summary: "Read or follow the log of a step",
		Description: "`path` is the step's, with its slashes, as the list of steps gives it. Without `follow`, a Range of bytes may be asked for.",
		Responses:   produces(textType, "The log.")},
		func(ctx context.Context, in *struct {
			InBuild
			Path   string `path:"path" maxLength:"1000" doc:"path of the step: build/BUILD/0"`
			From   int64  `query:"from" minimum:"0" doc:"byte from which on"`
			Follow bool   `query:"follow" doc:"wait for more until the step is over"`
		}) (*streamed, error) {
			l, err := desk.StepLog(ctx, in.Project, in.Number, in.Path)
			if err != nil {
				return nil, err
			}
			if in.Follow {
				return a.stream(textType, func(ctx context.Context, w *streamWriter) error { return l.Write(ctx, in.From, w, w.Flush) }), nil
			}
			return &streamed{func(hc huma.Context) { a.serveLog(hc, l, in.From) }}, nil
		})
	register(a, huma.Operation{OperationID: "listSteps", Method: http.MethodGet, Path: build + "/steps", Summary: "List the steps of a build, as a tree"},
		func(ctx context.Context, in *InBuild) (*listed[app.JobSteps], error) {
			jobs, err := desk.Steps(ctx, in.Project, in.Number)
			return list(jobs, ""), err
		})
}

// flushing sends at once what is followed; what is only read goes in big pieces.
func flushing(w *streamWriter, follow bool) func() error {
	if follow {
		return w.Flush
	}
	return func() error { return nil }
}

// message is one server-sent event.
type message struct {
	id, name string
	data     []byte // JSON, so there is no line end in it
}

// sendAll sends the events of a build from a number on.
func sendAll(ctx context.Context, follow func(context.Context, int64, func(ci.Event) bool) error, from int64, send func(message) error) error {
	var failed error
	err := follow(ctx, from, func(e ci.Event) bool {
		var data []byte
		if data, failed = json.Marshal(e); failed != nil {
			failed = fmt.Errorf("encode event %d: %w", e.Seq, failed)
			return false
		}
		failed = send(message{strconv.FormatInt(e.Seq, 10), string(e.Type), data})
		return failed == nil
	})
	return errOr(failed, err)
}

// sendEvents writes messages as they come, and signs of life in between.
func (a *API) sendEvents(ctx context.Context, w *streamWriter, follow func(ctx context.Context, send func(message) error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	events, ended := make(chan message, eventsAhead), make(chan error, 1)
	go func() { // ends when ctx does, or before; waited for below
		defer close(events)
		ended <- follow(ctx, func(m message) error {
			select {
			case events <- m:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	defer func() {
		cancel()
		for range events {
		}
	}()
	beat := time.NewTicker(a.cfg.Heartbeat)
	defer beat.Stop()
	if err := w.Flush(); err != nil {
		return err
	}
	for {
		var text []byte
		select {
		case m, ok := <-events:
			if !ok {
				if err := <-ended; err != nil || ctx.Err() != nil {
					return errOr(err, context.Cause(ctx))
				}
				if _, err := io.WriteString(w, "event: end\ndata: {}\n\n"); err != nil {
					return err
				}
				return w.Flush()
			}
			text = fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", m.id, m.name, m.data)
		case <-beat.C:
			text = []byte(": still here\n\n")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		if len(events) > 0 {
			continue // what is there already goes out with it
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// eventsAhead is how many events are taken ahead of those that are being sent.
const eventsAhead = 64

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// serveLog writes what there is of a step's log, or the ranges asked for.
func (a *API) serveLog(hc huma.Context, l *app.StepLog, from int64) {
	r, w := humago.Unwrap(hc)
	w.Header().Set("Content-Type", textType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	src := &logSeeker{ctx: r.Context(), log: l, base: min(from, l.Size)}
	defer src.close()
	http.ServeContent(w, r, "", time.Time{}, src)
}

// logSeeker is the log from base on as http.ServeContent wants it.
type logSeeker struct {
	ctx  context.Context // of the one request that it serves
	log  *app.StepLog
	base int64
	at   int64
	r    io.ReadCloser
}

func (s *logSeeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.log.Size - s.base
	}
	if offset != s.at {
		s.close()
	}
	s.at = offset
	return offset, nil
}

func (s *logSeeker) Read(p []byte) (int, error) {
	left := s.log.Size - s.base - s.at
	if left <= 0 {
		return 0, io.EOF
	}
	if s.r == nil {
		r, err := s.log.Open(s.ctx, s.base+s.at)
		if err != nil {
			return 0, err
		}
		s.r = r
	}
	n, err := s.r.Read(p[:min(int64(len(p)), left)])
	s.at += int64(n)
	return n, err
}

func (s *logSeeker) close() {
	if s.r != nil {
		_ = s.r.Close() // it was only read
		s.r = nil
	}
}
