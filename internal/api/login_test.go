package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	nobody := w.client("")
	if _, err := w.admin.PutUser(ctx, client.User{Name: "ann", Role: "builder"}); err != nil {
		t.Fatal(err)
	}
	_, err := nobody.Login(ctx, client.NewLogin{User: "ann", Password: ""})
	wantError(t, err, 401, "unauthenticated", "user or the password is wrong")
	wantError(t, w.admin.SetPassword(ctx, "ann", client.NewPassword{Password: "short"}), 422, "invalid", "8 to 1024")
	wantError(t, w.admin.SetPassword(ctx, "nobody", client.NewPassword{Password: "correct horse"}), 404, "not_found", "nobody")
	if err := w.admin.SetPassword(ctx, "ann", client.NewPassword{Password: "correct horse"}); err != nil {
		t.Fatal(err)
	}
	s, err := nobody.Login(ctx, client.NewLogin{User: "ann", Password: "correct horse", Note: "laptop"})
	if err != nil || s.User != "ann" || !s.Session || s.Note != "laptop" || time.Until(s.Expires) < 6*24*time.Hour {
		t.Fatalf("got %+v, %v", s, err)
	}
	ann := w.client(s.Secret)
	if me, err := ann.Me(ctx); err != nil || me.Name != "ann" || me.Role != "builder" {
		t.Errorf("got %+v, %v", me, err)
	}
	// A session is the person: it makes tokens that outlive it.
	k, err := ann.CreateToken(ctx, client.NewToken{})
	if err != nil || k.Session || !k.Expires.IsZero() {
		t.Errorf("got %+v, %v", k, err)
	}
	other, err := nobody.Login(ctx, client.NewLogin{User: "ann", Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, ann.SetPassword(ctx, "ann", client.NewPassword{Password: "battery staple"}), 422, "invalid", "current")
	wantError(t, ann.SetPassword(ctx, "ann", client.NewPassword{Password: "battery staple", Current: "wrong"}), 422, "invalid", "current")
	wantError(t, ann.SetPassword(ctx, "admin", client.NewPassword{Password: "battery staple"}), 403, "denied", "admin")
	narrow, err := ann.CreateToken(ctx, client.NewToken{Scopes: []string{"role:viewer"}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, w.client(narrow.Secret).SetPassword(ctx, "ann", client.NewPassword{Password: "battery staple", Current: "correct horse"}), 403, "denied", "scopes")
	if err := ann.SetPassword(ctx, "ann", client.NewPassword{Password: "battery staple", Current: "correct horse"}); err != nil {
		t.Fatal(err)
	}
	_, err = w.client(other.Secret).Me(ctx)
	wantError(t, err, 401, "unauthenticated", "not valid")
	if _, err := ann.Me(ctx); err != nil {
		t.Errorf("the session that changed the password: %v", err)
	}
	if _, err := w.client(k.Secret).Me(ctx); err != nil {
		t.Errorf("her token: %v", err)
	}
	wantError(t, w.client(k.Secret).Logout(ctx), 409, "conflict", "token and not a session")
	if err := ann.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = ann.Me(ctx)
	wantError(t, err, 401, "unauthenticated", "not valid")
	// Guessing is slowed down, and said to be.
	for range 4 {
		_, err = nobody.Login(ctx, client.NewLogin{User: "ann", Password: "guess"})
		wantError(t, err, 401, "unauthenticated", "wrong")
	}
	for {
		status, h, body := w.raw("POST", "/api/v1/login", "", `{"user":"ann","password":"guess"}`)
		if status == 401 {
			continue
		}
		if status != 429 || h.Get("Retry-After") != "1" || !strings.Contains(body, `"code":"too_many"`) {
			t.Errorf("got %d, Retry-After %q, %s", status, h.Get("Retry-After"), body)
		}
		break
	}
	if _, err := nobody.Login(ctx, client.NewLogin{User: "my password", Password: "x"}); err == nil {
		t.Error("nobody got in")
	}
	said := map[string]int{}
	for _, e := range w.audit() {
		said[e.User+" "+e.Verb+" "+e.Detail]++
		if e.Address != "127.0.0.1" || e.Request == "" || strings.Contains(e.Detail, "my password") || e.User == "my password" {
			t.Errorf("got %+v", e)
		}
	}
	for what, n := range map[string]int{"ann login by password": 2, "ann logout ": 1, " login.fail no such user": 1, `admin user.password user "ann"`: 1, `ann user.password user "ann"`: 1} {
		if said[what] != n {
			t.Errorf("%q is %d times in the audit, want %d: %v", what, said[what], n, said)
		}
	}
	if said["ann login.fail wrong password"] < 5 {
		t.Errorf("got %v; want the guesses", said)
	}
	for _, secret := range []string{"correct horse", "battery staple", s.Secret} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// TestPasswordPage is what a browser does with a link, and what others try.
func TestPasswordPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code, err := w.auth.PasswordLink(t.Context(), "admin", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	status, h, body := w.raw("GET", "/password/"+code, "", "")
	if status != 200 || !strings.Contains(body, "<b>admin</b>") || strings.Contains(body, "<script") || strings.Contains(body, code) {
		t.Fatalf("got %d %s", status, body)
	}
	if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || h.Get("Cache-Control") != "no-store" || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		t.Errorf("got headers %v", h)
	}
	send := func(at, password, again string, header ...string) (int, string) {
		form := url.Values{"password": {password}, "again": {again}}.Encode()
		status, _, body := w.raw("POST", at, "", form, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
		return status, body
	}
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		if status, body := send("/password/"+code, "correct horse", "correct horse", header...); status != http.StatusForbidden {
			t.Errorf("%q: got %d %s", header, status, body)
		}
	}
	if status, body := send("/password/"+code, "correct horse", "another"); status != 422 || !strings.Contains(body, "differ") {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := send("/password/"+code, "short", "short"); status != 422 || !strings.Contains(body, "8 to 1024") {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := send("/password/"+code, "correct <horse>", "correct <horse>", "Sec-Fetch-Site", "same-origin", "Origin", w.url); status != 200 || strings.Contains(body, "horse") {
		t.Fatalf("got %d %s", status, body)
	}
	if _, err := w.client("").Login(t.Context(), client.NewLogin{User: "admin", Password: "correct <horse>"}); err != nil {
		t.Error(err)
	}
	for _, at := range []string{"/password/" + code, "/password/x", "/password/%3Cscript%3E"} {
		if status, _, body := w.raw("GET", at, "", ""); status != 404 || !strings.Contains(body, "of no use") || strings.Contains(body, "<script") {
			t.Errorf("%s: got %d %s", at, status, body)
		}
		if status, body := send(at, "battery staple", "battery staple"); status != 404 {
			t.Errorf("%s: got %d %s", at, status, body)
		}
	}
	last := w.audit()
	if e := last[len(last)-2]; e.Verb != "user.password" || e.User != "admin" || !strings.Contains(e.Detail, "by a link") {
		t.Errorf("got %+v", e)
	}
	if strings.Contains(w.log.String(), code) {
		t.Error("the log has the link")
	}
}

// TestUserIfMatch: a change of what somebody else has changed meanwhile is refused.
func TestUserIfMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	first, err := w.admin.PutUser(ctx, client.User{Name: "ann", Role: "viewer"})
	if err != nil || first.Revision != 1 {
		t.Fatalf("got %+v, %v", first, err)
	}
	_, h, _ := w.raw("GET", "/api/v1/users/ann", w.token, "")
	if h.Get("ETag") != `"1"` {
		t.Errorf("got ETag %q", h.Get("ETag"))
	}
	second := first
	second.Role = "builder"
	if second, err = w.admin.PutUser(ctx, second); err != nil || second.Revision != 2 {
		t.Fatalf("got %+v, %v", second, err)
	}
	_, err = w.admin.PutUser(ctx, first)
	wantError(t, err, 412, "changed", "revision 1")
	_, err = w.admin.PutUser(ctx, client.User{Name: "new", Revision: 3})
	wantError(t, err, 412, "changed", "new")
	if status, _, body := w.raw("PUT", "/api/v1/users/ann", w.token, `{}`, "If-Match", "rubbish"); status != 412 {
		t.Errorf("got %d %s", status, body)
	}
	first.Revision = 0 // whatever it is now
	if got, err := w.admin.PutUser(ctx, first); err != nil || got.Role != "viewer" || got.Revision != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := w.admin.SetPassword(ctx, "ann", client.NewPassword{Password: "correct horse"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.admin.PutUser(ctx, client.User{Name: "ann", Role: "viewer", Revision: 3}); err != nil {
		t.Errorf("after a new password: %v", err)
	}
	if _, err := w.client("").Login(ctx, client.NewLogin{User: "ann", Password: "correct horse"}); err != nil {
		t.Errorf("a change of the user took the password: %v", err)
	}
}
