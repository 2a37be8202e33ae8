package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

const problemType = "application/problem+json"

// Fault is an error as clients see it (RFC 9457).
type Fault struct {
	Title    string       `json:"title" doc:"the kind of error, in words"`
	Status   int          `json:"status"`
	Code     string       `json:"code" doc:"the kind of error, for programs; it stays what it is"`
	Detail   string       `json:"detail,omitempty" doc:"what happened this time"`
	Help     string       `json:"help,omitempty" doc:"what to do next"`
	Errors   []FaultField `json:"errors,omitempty" doc:"what is wrong with the request, all of it"`
	Incident string       `json:"incident,omitempty" doc:"what to look for in the server's log"`

	after time.Duration // when to try again
}

// FaultField is one thing wrong with a request.
type FaultField struct {
	Field   string `json:"field" doc:"where: body.variables[2].name, query.limit"`
	Message string `json:"message"`
}

func (p *Fault) Error() string { return p.Detail }

// GetStatus is for huma.
func (p *Fault) GetStatus() int { return p.Status }

// ContentType is for huma.
func (p *Fault) ContentType(string) string { return problemType }

// GetHeaders is for huma.
func (p *Fault) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusTooManyRequests:
		return http.Header{"Retry-After": {strconv.Itoa(max(int(math.Ceil(p.after.Seconds())), 1))}}
	case http.StatusServiceUnavailable:
		return http.Header{"Retry-After": {"1"}}
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {`Bearer realm="sluice"`}}
	}
	return nil
}

// kind is what is said of all errors of a status.
type kind struct{ code, help string }

func kindOf(status int) kind {
	switch status {
	case http.StatusBadRequest:
		return kind{"malformed", "send a body of JSON as the OpenAPI document describes it"}
	case http.StatusUnauthorized:
		return kind{"unauthenticated", "send a token: Authorization: Bearer slu_…"}
	case http.StatusForbidden:
		return kind{"denied", "ask somebody who may, or for the role that may"}
	case http.StatusNotFound:
		return kind{"not_found", "look at the list of what there is; what you may not see is not found either"}
	case http.StatusMethodNotAllowed:
		return kind{"method_not_allowed", "the header Allow names the methods"}
	case http.StatusNotAcceptable:
		return kind{"not_acceptable", "accept application/json"}
	case http.StatusRequestTimeout:
		return kind{"too_slow", "send the body faster"}
	case http.StatusConflict:
		return kind{"conflict", "look at how it stands now, and decide anew"}
	case http.StatusPreconditionFailed:
		return kind{"changed", "get it again, and repeat the change on what it is now"}
	case http.StatusRequestEntityTooLarge:
		return kind{"too_large", "send less"}
	case http.StatusUnsupportedMediaType:
		return kind{"unsupported_media_type", "send application/json"}
	case http.StatusUnprocessableEntity:
		return kind{"invalid", "correct what the errors name"}
	case http.StatusTooManyRequests:
		return kind{"too_many", "wait for as many seconds as Retry-After says"}
	case http.StatusServiceUnavailable:
		return kind{"unavailable", "try again in a moment"}
	case http.StatusInternalServerError:
		return kind{"internal", "try again; if it stays, tell the operator the incident number"}
	}
	return kind{"error_" + strconv.Itoa(status), ""}
}

func newProblem(status int, detail string) *Fault {
	k := kindOf(status)
	return &Fault{Title: http.StatusText(status), Status: status, Code: k.code, Detail: detail, Help: k.help}
}

// statusOf maps the five kinds of errors; 500 is all others.
func statusOf(err error) int {
	switch {
	case errors.Is(err, ci.ErrInvalid):
		return http.StatusUnprocessableEntity
	case errors.Is(err, ci.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ci.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, ci.ErrDenied):
		return http.StatusForbidden
	case errors.Is(err, ci.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problem translates an error. What is none of the five kinds goes to the log,
// and only its number to the client.
func (a *API) problem(ctx context.Context, err error) *Fault {
	var tooMany *ci.TooMany
	if errors.As(err, &tooMany) {
		p := newProblem(http.StatusTooManyRequests, tooMany.Error())
		p.after = tooMany.After
		return p
	}
	var p *Fault
	if errors.As(err, &p) {
		return p
	}
	status := statusOf(err)
	var invalid *app.Invalid
	var changed *app.Changed
	var full *ci.NoRoom
	var large interface{ TooLarge() bool }
	var over *ci.OverBudget
	switch {
	case errors.As(err, &over):
		p = newProblem(status, ci.Message(err))
		p.Code, p.Help = "over_budget", "wait for the next month, or have an administrator raise the budget or lift it for this month"
		return p
	case errors.As(err, &over):
		p = newProblem(status, ci.Message(err))
		p.Code, p.Help = "over_budget", "wait for the next month, or have an administrator raise the budget or lift it for this month"
		return p
	case errors.As(err, &tooMany):
		p = newProblem(http.StatusTooManyRequests, tooMany.Error())
		p.after = tooMany.After
		return p
	case errors.As(err, &full):
		p = newProblem(status, full.Error())
		p.Code, p.Help = "project_full", "wait for a build to end, or stop one"
		return p
	case errors.As(err, &changed):
		return newProblem(http.StatusPreconditionFailed, ci.Message(err))
	case errors.As(err, &invalid):
		p = newProblem(status, "the request does not make sense")
		where := "body."
		if invalid.Query {
			where = "query."
		}
		for _, f := range invalid.Fields {
			p.Errors = append(p.Errors, FaultField{where + f.Path, f.Message})
		}
		return p
	case errors.As(err, &large) && large.TooLarge():
		return newProblem(http.StatusRequestEntityTooLarge, ci.Message(err))
	case status == http.StatusInternalServerError && ctx.Err() != nil:
		// The client went away, and what was done for it was broken off.
		return newProblem(http.StatusRequestTimeout, "the request was given up")
	case status == http.StatusInternalServerError || status == http.StatusServiceUnavailable:
		p = newProblem(status, "something went wrong in the server")
		if status == http.StatusServiceUnavailable {
			p.Detail = "something that the server needs is away"
		}
		p.Incident = requestID(ctx)
		a.cfg.Log.Error("request failed", "incident", p.Incident, "error", err)
		return p
	}
	return newProblem(status, ci.Message(err))
}

// translate puts our errors in the place of huma's own, and touches nothing else.
func (a *API) translate(ctx huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if model.Status >= http.StatusInternalServerError {
		err := errors.New(model.Detail)
		for _, e := range model.Errors {
			err = errors.Join(err, e)
		}
		return a.problem(context.WithoutCancel(ctx.Context()), err), nil
	}
	p := newProblem(model.Status, model.Detail)
	for _, e := range model.Errors {
		if e != nil {
			p.Errors = append(p.Errors, FaultField{e.Location, e.Message})
		}
	}
	if len(p.Errors) > 0 && p.Detail == "validation failed" {
		fields := make([]string, len(p.Errors))
		for i, f := range p.Errors {
			fields[i] = f.Field + ": " + f.Message
		}
		p.Detail = strings.Join(fields, "; ")
	}
	return p, nil
}

// fail answers with an error, outside of huma.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := a.problem(r.Context(), err)
	h := w.Header()
	for k, v := range p.GetHeaders() {
		h[k] = v
	}
	h.Set("Content-Type", problemType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length")
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(p)
	}
}
