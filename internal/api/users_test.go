package api_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	ann := client.User{Name: "ann@example.com", Full: "Ann", Mail: "ann@example.com", Role: "viewer", Projects: map[string]string{"web": "builder"}}
	status, _, body := w.raw("PUT", "/api/v1/users/ann@example.com", w.token, `{"role":"viewer","fullName":"A"}`)
	if status != 201 {
		t.Fatalf("got %d %s, want her made", status, body)
	}
	put, err := w.admin.PutUser(ctx, ann)
	if err != nil || put.Projects["web"] != "builder" || put.Full != "Ann" || put.Created.IsZero() {
		t.Fatalf("got %+v, %v", put, err)
	}
	if got, err := w.admin.User(ctx, ann.Name); err != nil || got.Mail != ann.Mail || !got.Created.Equal(put.Created) {
		t.Errorf("got %+v, %v", got, err)
	}
	all, err := w.admin.Users(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "admin" || all[1].Name != ann.Name {
		t.Errorf("got %+v, %v; want admin and her", all, err)
	}
	k, err := w.admin.CreateToken(ctx, client.NewToken{User: ann.Name})
	if err != nil {
		t.Fatal(err)
	}
	her := w.client(k.Secret)
	if me, err := her.Me(ctx); err != nil || me.Name != ann.Name || me.Role != "viewer" || me.Projects["web"] != "builder" || len(me.Scopes) != 0 {
		t.Errorf("got %+v, %v", me, err)
	}
	if err := w.admin.DeleteUser(ctx, ann.Name); err != nil {
		t.Fatal(err)
	}
	_, err = her.Me(ctx)
	wantError(t, err, 401, "unauthenticated", "not valid")
	// One of the same name later is somebody else.
	if _, err := w.admin.PutUser(ctx, ann); err != nil {
		t.Fatal(err)
	}
	_, err = her.Me(ctx)
	wantError(t, err, 401, "unauthenticated", "not valid")
	wantError(t, w.admin.DeleteUser(ctx, "nobody"), 404, "not_found", "nobody")
	_, err = w.admin.User(ctx, "adm\xffin")
	wantError(t, err, 404, "not_found", "adm")
	var verbs []string
	for _, e := range w.audit() {
		verbs = append(verbs, e.User+" "+e.Verb+" "+e.Detail)
	}
	for i, want := range []string{
		`admin user.create user "ann@example.com": role viewer`, `admin user.update user "ann@example.com": role viewer, in web builder`,
		`admin token.create token ` + k.ID + ` of user "ann@example.com"`, `admin user.delete user "ann@example.com": role viewer, in web builder`, `admin user.create`,
	} {
		if i >= len(verbs) || !strings.HasPrefix(verbs[i], want) {
			t.Errorf("audit %d: got %q, want %q", i, verbs, want)
		}
	}
	if strings.Contains(strings.Join(verbs, ""), k.Secret) || strings.Contains(w.log.String(), k.Secret) {
		t.Error("the secret is in the audit or the log")
	}
}

// TestAllThatIsWrongWithAUser has everything wrong, and everything named.
func TestAllThatIsWrongWithAUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.admin.PutUser(t.Context(), client.User{
		Name: "-a b", Full: "A\nB", Mail: "nowhere", Role: "king", Groups: []string{"g"}, Projects: map[string]string{"x": "viewer", "web": "", "app": "owner"},
	})
	got := fieldsOf(wantError(t, err, 422, "invalid", "not a role"))
	if want := []string{"fullName", "groups", "mail", "name", "projects", "projects.app", "projects.web", "role"}; !slices.Equal(got, want) {
		t.Errorf("got fields %q, want %q", got, want)
	}
	for name, ok := range map[string]bool{
		"a": true, "Ann.B_c-d@e": true, "@x": true, "9": true, strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false, "a/b": false, "é": false, ".a": false, "-a": false, "a b": false, "a\x00": false, "*": false,
	} {
		if _, err := w.admin.PutUser(t.Context(), client.User{Name: name}); (err == nil) != ok {
			t.Errorf("%q: got %v, want it taken: %v", name, err, ok)
		}
	}
}

func fieldsOf(e *client.Error) []string {
	var got []string
	for _, f := range e.Fields {
		got = append(got, strings.TrimPrefix(f.Field, "body."))
	}
	slices.Sort(got)
	return got
}

// TestLastAdmin: however one tries, and however many at once, one stays.
func TestLastAdmin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	put := func(u client.User) error { _, err := w.admin.PutUser(ctx, u); return err }
	if err := put(client.User{Name: "off", Role: "admin", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	wantError(t, put(client.User{Name: "admin", Role: "admin", Disabled: true}), 409, "conflict", "last enabled administrator")
	wantError(t, put(client.User{Name: "admin", Role: "maintainer"}), 409, "conflict", "last enabled administrator")
	wantError(t, w.admin.DeleteUser(ctx, "admin"), 409, "conflict", "last enabled administrator")
	if err := put(client.User{Name: "admin", Role: "admin", Full: "still one"}); err != nil {
		t.Error(err)
	}
	// Administrators who delete each other at the same time.
	for range 10 {
		a, b := w.client(w.user(ci.User{Name: "a", Role: ci.RoleAdmin})), w.client(w.user(ci.User{Name: "b", Role: ci.RoleAdmin}))
		if _, err := w.store.PutUser(ctx, ci.User{Name: "admin", Role: ci.RoleViewer}); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() { _ = a.DeleteUser(ctx, "b") })
		both.Go(func() { _, _ = b.PutUser(ctx, client.User{Name: "a", Role: "builder"}) })
		both.Wait()
		all, err := w.store.Users(ctx)
		if err != nil || !slices.ContainsFunc(all, func(u ci.User) bool { return u.Role == ci.RoleAdmin && !u.Disabled }) {
			t.Fatalf("got %+v, %v: no administrator is left", all, err)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	ann, bob := w.client(w.user(ci.User{Name: "ann", Role: ci.RoleBuilder})), w.client(w.user(ci.User{Name: "bob"}))
	k, err := ann.CreateToken(ctx, client.NewToken{Note: "laptop", Scopes: []string{"role:viewer"}, Lifetime: "720h"})
	if err != nil || k.User != "ann" || len(k.Secret) != 47 || k.Note != "laptop" || k.Expires.Sub(k.Created).Round(time.Minute) != 720*time.Hour {
		t.Fatalf("got %+v, %v", k, err)
	}
	_, _, text := w.raw("GET", "/api/v1/tokens?user=ann", w.token, "")
	if strings.Contains(text, k.Secret) || strings.Contains(text, "ash\":") || strings.Count(text, `"id"`) != 2 {
		t.Errorf("got %s; want two tokens, without their secrets", text)
	}
	_, err = bob.Tokens(ctx, "ann")
	wantError(t, err, 403, "denied", "takes the role admin")
	_, err = bob.Tokens(ctx, "*")
	wantError(t, err, 403, "denied", "takes the role admin")
	_, err = bob.CreateToken(ctx, client.NewToken{User: "ann"})
	wantError(t, err, 403, "denied", "takes the role admin")
	none := wantError(t, bob.RevokeToken(ctx, "nothing"), 404, "not_found", "nothing")
	foreign := wantError(t, bob.RevokeToken(ctx, k.ID), 404, "not_found", k.ID)
	if strings.ReplaceAll(foreign.Error(), k.ID, "nothing") != none.Error() {
		t.Errorf("got %v for what is another's, %v for what is not there", foreign, none)
	}
	if all, err := w.admin.Tokens(ctx, "*"); err != nil || len(all) != 4 {
		t.Errorf("got %+v, %v; want four tokens", all, err)
	}
	if own, err := bob.Tokens(ctx, ""); err != nil || len(own) != 1 || own[0].User != "bob" {
		t.Errorf("got %+v, %v; want his own", own, err)
	}
	_, err = w.admin.Tokens(ctx, "nobody")
	wantError(t, err, 404, "not_found", "nobody")
	_, err = w.admin.CreateToken(ctx, client.NewToken{User: "nobody"})
	wantError(t, err, 404, "not_found", "nobody")
	_, err = ann.CreateToken(ctx, client.NewToken{Note: "a\nb", Scopes: []string{"role:viewer", "role:god", "x"}, Lifetime: "soon"})
	if got := fieldsOf(wantError(t, err, 422, "invalid", "role:god")); !slices.Equal(got, []string{"lifetime", "note", "scopes[1]", "scopes[2]"}) {
		t.Errorf("got fields %q", got)
	}
	for _, n := range []client.NewToken{{Lifetime: "-1h"}, {Lifetime: "0"}, {Lifetime: "200000h"}, {Expires: time.Now().Add(-time.Hour)}, {Lifetime: "1h", Expires: time.Now().Add(time.Hour)}} {
		_, err = ann.CreateToken(ctx, n)
		wantError(t, err, 422, "invalid", "want")
	}
	hers := w.client(k.Secret)
	if err := ann.RevokeToken(ctx, k.ID); err != nil {
		t.Fatal(err)
	}
	_, err = hers.Me(ctx)
	wantError(t, err, 401, "unauthenticated", "not valid")
	if _, err := w.admin.PutUser(ctx, client.User{Name: "ann", Role: "builder", Disabled: true}); err != nil {
		t.Fatal(err)
	}
	_, err = ann.Me(ctx)
	wantError(t, err, 401, "unauthenticated", "not valid")
	_, err = w.admin.CreateToken(ctx, client.NewToken{User: "ann"})
	wantError(t, err, 409, "conflict", "disabled")
}

// TestTokensReachNoFurther has tokens with scopes and an end ask for others.
func TestTokensReachNoFurther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	first := func(c *client.Client, n client.NewToken) (*client.Client, client.IssuedToken) {
		k, err := c.CreateToken(ctx, n)
		if err != nil {
			t.Fatalf("%+v: %v", n, err)
		}
		return w.client(k.Secret), k
	}
	refused := func(c *client.Client, n client.NewToken, text string) {
		_, err := c.CreateToken(ctx, n)
		wantError(t, err, 403, "denied", text)
	}
	viewer, _ := first(w.admin, client.NewToken{Scopes: []string{"role:viewer"}})
	refused(viewer, client.NewToken{}, "role:viewer")
	refused(viewer, client.NewToken{Scopes: []string{"role:builder"}}, "role:viewer")
	refused(viewer, client.NewToken{Scopes: []string{"project:web"}}, "role:viewer")
	refused(viewer, client.NewToken{User: "ann"}, "takes the role admin")
	first(viewer, client.NewToken{Scopes: []string{"role:viewer", "project:web"}})

	web, k := first(w.admin, client.NewToken{Scopes: []string{"project:web", "project:app"}})
	refused(web, client.NewToken{}, "project:web")
	refused(web, client.NewToken{Scopes: []string{"project:web", "project:other"}}, "project:web")
	refused(web, client.NewToken{User: "ann", Scopes: []string{"project:web"}}, "some projects only")
	first(web, client.NewToken{Scopes: []string{"project:app"}})
	if me, err := web.Me(ctx); err != nil || !slices.Equal(me.Scopes, k.Scopes) {
		t.Errorf("got %+v, %v; want the scopes", me, err)
	}
	own, err := web.Tokens(ctx, "")
	if err != nil || len(own) != 3 || slices.ContainsFunc(own, func(k client.Token) bool { return len(k.Scopes) == 0 }) {
		t.Errorf("got %+v, %v; want those with at most its scopes", own, err)
	}
	admins, err := w.store.Tokens(ctx, "admin")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range admins {
		if len(a.Scopes) == 0 {
			wantError(t, web.RevokeToken(context.WithoutCancel(ctx), a.ID), 404, "not_found", a.ID)
		}
	}
	if err := web.RevokeToken(ctx, k.ID); err != nil {
		t.Errorf("itself: %v", err)
	}

	short, k := first(w.admin, client.NewToken{Lifetime: "1h"})
	refused(short, client.NewToken{}, "live longer")
	refused(short, client.NewToken{Lifetime: "2h"}, "live longer")
	refused(short, client.NewToken{User: "admin", Expires: k.Expires.Add(time.Second)}, "live longer")
	first(short, client.NewToken{Expires: k.Expires})
}
