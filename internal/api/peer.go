package api

import (
	"context"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
)

// forwarded marks a request that another server has passed on: it is answered
// here, whatever this server thinks who has the build.
const forwarded = "X-Sluice-Forwarded"

// pass answers a request for the files of a build from the server that has them.
// False = they are to be looked for here.
func (a *API) pass(w http.ResponseWriter, r *http.Request) bool {
	project, number, ok := filesOf(r)
	if !ok {
		return false
	}
	where, err := a.cfg.App.Peer(r.Context(), project, number)
	if err != nil || where == "" {
		return false // the operation finds the error again, and says it
	}
	peer, err := url.Parse(where)
	if err != nil || peer.Host == "" {
		return false
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1, // logs are live
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = peer.Scheme, peer.Host, peer.Host
			p.Out.Header.Set(forwarded, "1")
		},
		ModifyResponse: func(*http.Response) error {
			w.Header().Del("X-Request-Id") // that of the one who answers stands
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			a.cfg.Log.Warn("the server that has a build cannot be reached", "server", where, "err", err)
			w.Header().Set("Retry-After", "1")
			a.fail(w, r, newProblem(http.StatusServiceUnavailable, "the server that has the build's files, "+where+", cannot be reached from this one; try again in a moment"))
		},
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer a.cut(cancel)()
	proxy.ServeHTTP(w, r.WithContext(ctx))
	return true
}

// cut ends what cancel ends when streams must end. The answer undoes that.
func (a *API) cut(cancel func()) (undo func()) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-a.stop:
			cancel()
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// filesOf says which build's files a request is for: its log, or those that it
// left. Each is on the disk of the server that ran the build.
func filesOf(r *http.Request) (project string, number int64, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, Prefix+"/projects/")
	parts := strings.SplitN(rest, "/", 5)
	if !ok || r.Method != http.MethodGet || r.Header.Get(forwarded) != "" || len(parts) < 4 || parts[1] != "builds" {
		return "", 0, false
	}
	switch parts[3] {
	case "log", "lines", "artifacts", "archive", "reports":
	default:
		return "", 0, false
	}
	number, err := strconv.ParseInt(parts[2], 10, 64)
	return parts[0], number, err == nil && number > 0
}

func (a *API) nodes() {
	register(a, huma.Operation{OperationID: "listNodes", Method: http.MethodGet, Path: "/nodes", Summary: "List the servers that share the database; for administrators"},
		func(ctx context.Context, _ *struct{}) (*listed[app.NodeInfo], error) {
			items, err := a.cfg.App.Nodes(ctx)
			return list(items, ""), err
		})
}
