package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// maxBody is the biggest body of a request.
const maxBody = 1 << 20

type requestKey struct{}

// requestID names the request in headers, answers and the log.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()[:16]
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
	w.Header().Set("X-Request-Id", id)
	seen := &response{ResponseWriter: w, control: http.NewResponseController(w), patience: a.cfg.Patience}
	seen.wait()
	defer a.caught(seen, r)
	a.serve(seen, r)
}

// caught makes an incident of a panic. The connection of an answer that had begun
// is cut, so that nobody takes half of it for the whole.
func (a *API) caught(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	if w.began {
		a.cfg.Log.Error("request failed", "incident", requestID(r.Context()), "panic", v, "stack", string(debug.Stack()))
		panic(http.ErrAbortHandler)
	}
	a.fail(w, r.WithContext(context.WithoutCancel(r.Context())), fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
}

func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" && path.Clean(r.URL.Path) != r.URL.Path {
		a.fail(w, r, newProblem(http.StatusNotFound, "there is no such place: the path has empty, '.' or '..' parts, or a slash at its end"))
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), originKey{}, a.origin(r)))
	r, err := a.enter(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	handler, pattern := a.mux.Handler(r)
	if pattern == "" {
		a.lost(w, r, handler)
		return
	}
	if a.pass(w, r) {
		return
	}
	if streams(pattern) {
		// Also what is left of it when the request is refused does not come for ever.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.cfg.Patience))
	} else if err := a.readBody(w, r); err != nil {
		a.fail(w, r, err)
		return
	}
	a.mux.ServeHTTP(w, r) // and not the handler: it also sets the values of the path
}

// enter finds out who asks, where that is needed, and whether it is not too much.
func (a *API) enter(r *http.Request) (*http.Request, error) {
	address := originOf(r.Context()).Address
	switch {
	case strings.HasPrefix(r.URL.Path, Prefix+"/") && !open(r):
		u, err := a.user(r)
		if statusOfFault(err) == http.StatusUnauthorized {
			return r, errors.Join(tooMany("requests without a token that is good", a.anonymous.take(address)), err)
		}
		if err != nil {
			return r, err
		}
		r = r.WithContext(ci.WithUser(r.Context(), u))
		who := u.Name
		if u.Token != nil {
			who = u.Token.ID
		}
		return r, tooMany("requests with this token", a.known.take(who))
	case open(r) && r.Method == http.MethodPost, strings.HasPrefix(r.URL.Path, PasswordPath), strings.HasPrefix(r.URL.Path, "/login/"):
		return r, tooMany("logins from your address", a.anonymous.take(address))
	}
	return r, nil
}

// user finds out who asks.
func (a *API) user(r *http.Request) (ci.User, error) {
	token := bearer(r)
	if token == "" {
		return ci.User{}, newProblem(http.StatusUnauthorized, "the request has no token")
	}
	u, err := a.cfg.Identify(r.Context(), token)
	if errors.Is(err, ci.ErrDenied) {
		return ci.User{}, newProblem(http.StatusUnauthorized, ci.Message(err))
	}
	u.From = originOf(r.Context())
	return u, err
}

// bearer is the token of a request; "" = it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// statusOfFault is the status of a fault that is made already; 0 for any other error.
func statusOfFault(err error) int {
	var f *Fault
	if errors.As(err, &f) {
		return f.Status
	}
	return 0
}

// lost answers where there is nothing: the mux knows whether it is the place
// that is missing or the method.
func (a *API) lost(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	probe := &probe{header: http.Header{}}
	handler.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header()["Allow"] = probe.header["Allow"]
		a.fail(w, r, newProblem(probe.status, r.Method+" is not for this place"))
		return
	}
	a.fail(w, r, newProblem(http.StatusNotFound, "there is no such place; "+Prefix+"/openapi.json describes those that there are"))
}

// readBody takes the body in, whole, within bounds of size and time, so that
// what comes after need not know of slow or broken clients.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > maxBody {
		return tooLarge()
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(a.cfg.Patience)) // where it cannot be, the client's time is not bounded
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{})
	var big *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.As(err, &big):
		return tooLarge()
	case errors.As(err, &slow) && slow.Timeout():
		w.Header().Set("Connection", "close")
		return newProblem(http.StatusRequestTimeout, "the body did not come in time")
	case err != nil:
		w.Header().Set("Connection", "close")
		return newProblem(http.StatusBadRequest, "the body broke off: "+err.Error())
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func tooLarge() *Fault {
	return newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", maxBody))
}

// response remembers whether an answer has begun, and gives the client a time in
// which to take each piece: one that does not holds nothing for longer.
type response struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	began    bool
}

func (w *response) wait() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.patience)) // where it cannot be, the time is not bounded
}

func (w *response) WriteHeader(status int) {
	w.began = true
	w.wait()
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.began = true
	w.wait()
	return w.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (w *response) FlushError() error {
	w.began = true
	w.wait()
	return w.control.Flush()
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// probe takes an answer that nobody gets.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header            { return p.header }
func (p *probe) WriteHeader(status int)         { p.status = status }
func (p *probe) Write(text []byte) (int, error) { return len(text), nil }
