package api

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// SSOPath is where a login at the identity provider begins, and CallbackPath
// where the provider sends the browser back to.
const (
	SSOPath      = "/login/oidc"
	CallbackPath = "/login/callback"
)

// LoginMethods says how one can log in.
type LoginMethods struct {
	Password bool   `json:"password"`
	SSO      string `json:"sso,omitempty" doc:"where a browser begins a login at the identity provider; not there when there is none"`
}

// NewHandover is the body of a request for the session of a login at the provider.
type NewHandover struct {
	Code   string `json:"code" maxLength:"1000" doc:"what the browser was given at the end"`
	Secret string `json:"secret" maxLength:"1000" doc:"whose SHA-256 was the challenge at the beginning"`
}

// stateCookie binds a login to the browser that began it.
const stateCookie = "sluice_login"

func (a *API) sso() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "loginMethods", Method: http.MethodGet, Path: "/login", Summary: "Show how one can log in", Security: []map[string][]string{}},
		func(context.Context, *struct{}) (*struct{ Body LoginMethods }, error) {
			m := LoginMethods{Password: true}
			if desk.HasSSO() {
				m.SSO = SSOPath
			}
			return &struct{ Body LoginMethods }{m}, nil
		})
	register(a, huma.Operation{OperationID: "handover", Method: http.MethodPost, Path: "/login/code", Summary: "Take the session of a login at the identity provider", DefaultStatus: http.StatusCreated,
		Description: "A program sends a browser to /login/oidc?challenge=…, with the SHA-256 of a secret in base64url, and redirect=http://127.0.0.1:PORT/… where it listens for the code; without that the browser shows the code.",
		Security:    []map[string][]string{}},
		func(ctx context.Context, in *struct{ Body NewHandover }) (*tokenAnswer, error) {
			made, err := desk.Handover(ctx, originOf(ctx), in.Body.Code, in.Body.Secret)
			if errors.Is(err, ci.ErrDenied) {
				p := newProblem(http.StatusUnauthorized, ci.Message(err))
				p.Help = "log in again"
				err = p
			}
			return &tokenAnswer{"no-store", made}, err
		})
	a.mux.HandleFunc("GET "+SSOPath, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		address, state, err := desk.BeginSSO(r.Context(), app.SSOLogin{Challenge: q.Get("challenge"), Redirect: q.Get("redirect"), State: q.Get("state"), Note: q.Get("note")})
		if err != nil {
			a.failPage(w, r, err)
			return
		}
		a.setState(w, r, state, ssoMinutes*60)
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, address, http.StatusSeeOther)
	})
	a.mux.HandleFunc("GET "+CallbackPath, a.callback)
}

// ssoMinutes is how long a browser remembers which login it began.
const ssoMinutes = 10

func (a *API) setState(w http.ResponseWriter, r *http.Request, state string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: stateCookie, Value: state, Path: "/login", MaxAge: seconds, HttpOnly: true,
		Secure: r.TLS != nil || strings.HasPrefix(a.cfg.URL(), "https:"), SameSite: http.SameSiteLaxMode,
	})
}

// callback ends a login at the provider in the browser.
func (a *API) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := q.Get("state")
	c, err := r.Cookie(stateCookie)
	if err != nil || subtle.ConstantTimeCompare([]byte(c.Value), []byte(state)) != 1 {
		page(w, http.StatusForbidden, "Refused", "<p>This login was not begun in this browser, or too long ago. Begin again with <code>sluice login</code>.</p>")
		return
	}
	a.setState(w, r, "", -1)
	if no := q.Get("error"); no != "" {
		page(w, http.StatusForbidden, "Not logged in", fmt.Sprintf("<p>The identity provider said: %s %s</p>", html.EscapeString(no), html.EscapeString(q.Get("error_description"))))
		return
	}
	done, err := a.cfg.App.FinishSSO(r.Context(), originOf(r.Context()), state, q.Get("code"))
	switch {
	case err != nil:
		a.failPage(w, r, err)
	case done.Redirect != "":
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		http.Redirect(w, r, done.Redirect, http.StatusSeeOther)
	default:
		page(w, http.StatusOK, "Logged in", fmt.Sprintf(`<p>You are <b>%s</b>. Copy this code into the terminal in which you ran <code>sluice login</code>, and nowhere else:</p>
<p><code>%s</code></p><p>It is good once and for five minutes.</p>`, html.EscapeString(done.User), html.EscapeString(done.Code)))
	}
}
