package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/oidc"
	"github.com/sluice-ci/sluice/internal/oidc/oidctest"
)

type claims = map[string]any

// ssoWorld is a world whose people log in at a real provider.
func ssoWorld(t *testing.T, accounts map[string]claims, change func(*oidc.Config, *app.SSO)) *world {
	t.Helper()
	c := oidc.Config{Issuer: oidctest.Start(t, accounts), Client: oidctest.ID, Secret: oidctest.Secret, Scopes: []string{"profile", "email"}, UserClaim: "preferred_username", GroupsClaim: "groups"}
	s := &app.SSO{Groups: true, Create: true, Role: ci.RoleViewer}
	var w *world
	s.Redirect = func() string { return w.url + api.CallbackPath }
	if change != nil {
		change(&c, s)
	}
	s.Provider = oidc.New(c)
	w = newWorldWith(t, func(c *app.Config) { c.SSO = s })
	return w
}

func challenge(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// code is what a person sees at the end of a login in the browser.
func code(t *testing.T, text string) string {
	t.Helper()
	found := regexp.MustCompile(`<p><code>([0-9A-Za-z]{43})</code></p>`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("the page shows no code: %s", text)
	}
	return found[1]
}

func TestSSO(t *testing.T) {
	t.Parallel()
	w := ssoWorld(t, map[string]claims{
		"1": {"preferred_username": "ann", "name": "Ann Lee", "email": "ann@example.com", "email_verified": true, "groups": []string{"team", "elsewhere", "manual"}},
		"2": {"preferred_username": "admin"},
		"3": {"preferred_username": "no spaces please"},
		"4": {},
		"5": {"preferred_username": "off"},
	}, nil)
	ctx := t.Context()
	for name, role := range map[string]string{"team": "builder", "manual": "viewer", "before": "viewer"} {
		if _, err := w.admin.PutGroup(ctx, client.Group{Name: name, Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	nobody := w.client("")
	how, err := nobody.LoginMethods(ctx)
	if err != nil || how.SSO != "/login/oidc" {
		t.Fatalf("got %+v, %v", how, err)
	}
	begin := func(q url.Values) string { return w.url + how.SSO + "?" + q.Encode() }

	// The person copies the code.
	ann := oidctest.NewBrowser(t)
	status, _, text := ann.Open(begin(url.Values{"challenge": {challenge("s3cret")}, "note": {"laptop"}}), "1", nil)
	if status != 200 || !strings.Contains(text, "<b>ann</b>") || strings.Contains(text, "<script") {
		t.Fatalf("got %d %s", status, text)
	}
	first := code(t, text)
	_, err = nobody.TakeLogin(ctx, client.NewHandover{Code: first, Secret: "guess"})
	wantError(t, err, 401, "unauthenticated", "code is not good")
	_, err = nobody.TakeLogin(ctx, client.NewHandover{Code: first, Secret: "s3cret"})
	wantError(t, err, 401, "unauthenticated", "code is not good") // a guess uses it up
	_, _, text = ann.Open(begin(url.Values{"challenge": {challenge("s3cret")}, "note": {"laptop"}}), "1", nil)
	s, err := nobody.TakeLogin(ctx, client.NewHandover{Code: code(t, text), Secret: "s3cret"})
	if err != nil || s.User != "ann" || !s.Session || s.Note != "laptop" || s.Expires.IsZero() {
		t.Fatalf("got %+v, %v", s, err)
	}
	me, err := w.client(s.Secret).Me(ctx)
	if err != nil || me.Full != "Ann Lee" || me.Mail != "ann@example.com" || me.Role != "builder" || !slices.Equal(me.Groups, []string{"manual", "team"}) {
		t.Errorf("got %+v, %v; want a builder by her group", me, err)
	}
	// A program on her machine gets the code; she is in no group of the provider's
	// twice, and stays in one of ours.
	if err := w.admin.SetMember(ctx, "before", "ann", true); err != nil {
		t.Fatal(err)
	}
	mine := func(u *url.URL) bool { return u.Port() == "9" }
	_, at, _ := ann.Open(begin(url.Values{"challenge": {challenge("x")}, "redirect": {"http://127.0.0.1:9/callback"}, "state": {"st"}}), "1", mine)
	if at.Path != "/callback" || at.Query().Get("state") != "st" {
		t.Fatalf("got %s", at)
	}
	if _, err := nobody.TakeLogin(ctx, client.NewHandover{Code: at.Query().Get("code"), Secret: "x"}); err != nil {
		t.Error(err)
	}
	if u, err := w.admin.User(ctx, "ann"); err != nil || !slices.Equal(u.Groups, []string{"before", "manual", "team"}) || !slices.Equal(u.Provided, []string{"manual", "team"}) {
		t.Errorf("got %+v, %v", u, err)
	}
	// Who is not let in, and what is tried.
	if _, err := w.admin.PutUser(ctx, client.User{Name: "off", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]string{"2": "another user &#34;admin&#34; here already", "3": "cannot be the name of a user", "4": "does not say what to call", "5": "disabled"} {
		if status, _, text := oidctest.NewBrowser(t).Open(begin(url.Values{"challenge": {challenge("x")}}), account, nil); status != 403 || !strings.Contains(text, want) {
			t.Errorf("account %s: got %d %s; want %q", account, status, text, want)
		}
	}
	for _, redirect := range []string{"http://evil.example/callback", "http://127.0.0.1.evil.example:9/", "https://127.0.0.1:9/", "http://127.0.0.1/", "http://user@127.0.0.1:9/", "http://127.0.0.1:9/?a=b", "http://127.0.0.1:9/#x", "http://localhost:9/", "javascript:alert(1)", "//127.0.0.1:9/"} {
		if status, _, text := oidctest.NewBrowser(t).Open(begin(url.Values{"challenge": {challenge("x")}, "redirect": {redirect}}), "1", mine); status != 422 || !strings.Contains(text, "address of this machine") {
			t.Errorf("%s: got %d %s", redirect, status, text)
		}
	}
	if status, _, text := oidctest.NewBrowser(t).Open(begin(url.Values{"challenge": {"short"}}), "1", nil); status != 422 {
		t.Errorf("got %d %s", status, text)
	}
	// A login is the browser's that began it, is finished once, and says no politely.
	stop := func(u *url.URL) bool { return u.Path == api.CallbackPath }
	hers := oidctest.NewBrowser(t)
	_, back, _ := hers.Open(begin(url.Values{"challenge": {challenge("x")}}), "1", stop)
	if status, _, text := oidctest.NewBrowser(t).Open(back.String(), "1", nil); status != 403 || !strings.Contains(text, "not begun in this browser") {
		t.Errorf("in another browser: got %d %s", status, text)
	}
	if status, _, text := hers.Open(back.String(), "1", nil); status != 200 {
		t.Errorf("in hers: got %d %s", status, text)
	}
	if status, _, text := hers.Open(back.String(), "1", nil); status != 403 {
		t.Errorf("twice: got %d %s", status, text)
	}
	_, back, _ = hers.Open(begin(url.Values{"challenge": {challenge("x")}}), "1", stop)
	q := back.Query()
	q.Del("code")
	q.Set("error", "access_denied")
	q.Set("error_description", "<script>alert(1)</script>")
	back.RawQuery = q.Encode()
	if status, _, text := hers.Open(back.String(), "1", nil); status != 403 || !strings.Contains(text, "access_denied") || strings.Contains(text, "<script") {
		t.Errorf("got %d %s", status, text)
	}
	// A code of the provider that was not for this login.
	_, one, _ := hers.Open(begin(url.Values{"challenge": {challenge("x")}}), "1", stop)
	_, two, _ := hers.Open(begin(url.Values{"challenge": {challenge("x")}}), "1", stop)
	q = two.Query()
	q.Set("code", one.Query().Get("code"))
	two.RawQuery = q.Encode()
	if status, _, text := hers.Open(two.String(), "1", nil); status != 403 || !strings.Contains(text, "refused the login") {
		t.Errorf("got %d %s", status, text)
	}
	// Disabled meanwhile.
	_, _, text = oidctest.NewBrowser(t).Open(begin(url.Values{"challenge": {challenge("x")}}), "1", nil)
	if _, err := w.admin.PutUser(ctx, client.User{Name: "ann", Role: "viewer", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	_, err = nobody.TakeLogin(ctx, client.NewHandover{Code: code(t, text), Secret: "x"})
	wantError(t, err, 401, "unauthenticated", "code is not good")
	if u, err := w.admin.User(ctx, "ann"); err != nil || u.Identity == "" || !slices.Contains(u.Groups, "team") {
		t.Errorf("a change by an administrator lost who she is: %+v, %v", u, err)
	}
	failed := 0
	for _, e := range w.audit() {
		if e.Verb == "login.fail" && strings.Contains(e.Detail, "identity provider") {
			failed++
		}
	}
	if failed < 5 {
		t.Errorf("%d failed logins are in the audit", failed)
	}
}

// TestSSOWhoMay: domains, groups, and users whom an administrator makes.
func TestSSOWhoMay(t *testing.T) {
	t.Parallel()
	w := ssoWorld(t, map[string]claims{
		"in":       {"email": "in@Example.com", "email_verified": true, "groups": "staff"},
		"outside":  {"email": "out@example.com.evil", "email_verified": true, "groups": []string{"staff"}},
		"claimed":  {"email": "claimed@example.com", "email_verified": false, "groups": []string{"staff"}},
		"stranger": {"email": "stranger@example.com", "email_verified": true, "groups": []string{"guests"}},
		"unknown":  {"email": "unknown@example.com", "email_verified": true, "groups": []string{"staff"}},
	}, func(c *oidc.Config, s *app.SSO) {
		c.UserClaim, c.Domains, c.Groups = "email", []string{"example.com"}, []string{"staff", "others"}
		s.Create = false
	})
	for _, name := range []string{"in@Example.com", "out@example.com.evil", "claimed@example.com", "stranger@example.com"} {
		if _, err := w.admin.PutUser(t.Context(), client.User{Name: name, Role: "viewer"}); err != nil {
			t.Fatal(err)
		}
	}
	for account, want := range map[string]string{
		"in": "You are <b>in@Example.com</b>", "outside": "verified address of mail at example.com", "claimed": "not verified", "stranger": "one of the groups staff, others", "unknown": "ask an administrator to make one",
	} {
		_, _, text := oidctest.NewBrowser(t).Open(w.url+"/login/oidc?challenge="+challenge("x"), account, nil)
		if !strings.Contains(text, want) {
			t.Errorf("%s: got %s; want %q", account, text, want)
		}
	}
}

// TestSSOAway: a server without its provider starts, and says what is wrong.
func TestSSOAway(t *testing.T) {
	t.Parallel()
	none := newWorld(t)
	if status, _, body := none.raw("GET", "/login/oidc?challenge="+challenge("x"), "", ""); status != 409 || !strings.Contains(body, "no identity provider") {
		t.Errorf("got %d %s", status, body)
	}
	s := &app.SSO{Provider: oidc.New(oidc.Config{Issuer: "http://127.0.0.1:1", Client: "x"}), Redirect: func() string { return "http://127.0.0.1/" }}
	w := newWorldWith(t, func(c *app.Config) { c.SSO = s })
	status, _, body := w.raw("GET", "/login/oidc?challenge="+challenge("x"), "", "")
	if status != 503 || strings.Contains(body, "127.0.0.1:1") || !strings.Contains(w.log.String(), "ask the identity provider http://127.0.0.1:1") {
		t.Errorf("got %d %s", status, body)
	}
}
