package api

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// PasswordPath is the path below which links to set a password are.
const PasswordPath = "/password/"

// pages are the few that people open in a browser: no scripts, nothing from
// elsewhere, in no frame.
func (a *API) pages() {
	cross := http.NewCrossOriginProtection()
	a.mux.HandleFunc("GET "+PasswordPath+"{code}", func(w http.ResponseWriter, r *http.Request) {
		user, err := a.cfg.App.PasswordLinkOf(r.Context(), r.PathValue("code"))
		if err != nil {
			a.failPage(w, r, err)
			return
		}
		page(w, http.StatusOK, "Set a password", passwordForm(user, ""))
	})
	a.mux.HandleFunc("POST "+PasswordPath+"{code}", func(w http.ResponseWriter, r *http.Request) {
		if err := cross.Check(r); err != nil {
			page(w, http.StatusForbidden, "Refused", "<p>The form was sent by another page. Open the link again.</p>")
			return
		}
		if err := r.ParseForm(); err != nil {
			page(w, http.StatusBadRequest, "Refused", "<p>The form cannot be read. Open the link again.</p>")
			return
		}
		code, password := r.PathValue("code"), r.PostForm.Get("password")
		user, err := a.cfg.App.PasswordLinkOf(r.Context(), code)
		if err == nil && password != r.PostForm.Get("again") {
			page(w, http.StatusUnprocessableEntity, "Set a password", passwordForm(user, "The two passwords differ."))
			return
		}
		if err == nil {
			err = a.cfg.App.UsePasswordLink(r.Context(), originOf(r.Context()), code, password)
		}
		var invalid *app.Invalid
		switch {
		case errors.As(err, &invalid):
			page(w, http.StatusUnprocessableEntity, "Set a password", passwordForm(user, invalid.Fields[0].Message))
		case err != nil:
			a.failPage(w, r, err)
		default:
			page(w, http.StatusOK, "The password is set", fmt.Sprintf("<p>Log in with <code>sluice login</code> as <b>%s</b>. You may close this page.</p>", html.EscapeString(user)))
		}
	})
}

func (a *API) failPage(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ci.ErrNotFound) {
		page(w, http.StatusNotFound, "The link is of no use", "<p>It was used, it has expired, or there never was one. An administrator of this server can set a password with "+
			"<code>sluice user password</code>; who can read the server's files gets in with <code>sluice user recover</code>.</p>")
		return
	}
	if errors.Is(err, ci.ErrDenied) {
		page(w, http.StatusForbidden, "Not logged in", "<p>"+html.EscapeString(ci.Message(err))+"</p>")
		return
	}
	p := a.problem(r.Context(), err)
	text := p.Detail
	for _, f := range p.Errors {
		text += "; " + strings.TrimPrefix(f.Field, "body.") + ": " + f.Message
	}
	if p.Incident != "" {
		text += " (incident " + p.Incident + ")"
	}
	page(w, p.Status, "It did not work", "<p>"+html.EscapeString(text)+"; "+html.EscapeString(p.Help)+"</p>")
}

func passwordForm(user, wrong string) string {
	var b strings.Builder
	if wrong != "" {
		fmt.Fprintf(&b, `<p role="alert"><b>%s</b></p>`, html.EscapeString(wrong))
	}
	fmt.Fprintf(&b, `<form method="post">
<input type="text" name="user" value="%s" autocomplete="username" readonly hidden>
<p><label>New password of <b>%[1]s</b><br><input type="password" name="password" autocomplete="new-password" required autofocus></label></p>
<p><label>Once more<br><input type="password" name="again" autocomplete="new-password" required></label></p>
<p><button>Set password</button></p>
</form>`, html.EscapeString(user))
	return b.String()
}

// page sends a page. title is text, body HTML.
func page(w http.ResponseWriter, status int, title, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// With no-referrer, browsers would hide from us where a form comes from.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	title = html.EscapeString(title)
	_, _ = fmt.Fprintf(w, `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>%s - Sluice</title></head>
<body><main><h1>%[1]s</h1>
%s
</main></body></html>
`, title, body)
}
