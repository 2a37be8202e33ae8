package auth_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/auth"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func open(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.OpenDB(t.Context(), filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func user(t *testing.T, db *store.DB, u ci.User) {
	t.Helper()
	if _, err := db.PutUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	db := open(t)
	a := auth.New(db, nil)
	var kept []string
	keep := func(s string) error { kept = append(kept, s); return nil }

	// Killed, or a full disk, before the token was kept or stored: no access is lost.
	full := errors.New("disk full")
	if made, err := a.Bootstrap(t.Context(), func(string) error { return full }); made || !errors.Is(err, full) {
		t.Fatalf("got made %v, %v; want the error of keep", made, err)
	}
	if made, err := a.Bootstrap(t.Context(), keep); !made || err != nil || len(kept) != 1 {
		t.Fatalf("got made %v, %v; want it made now", made, err)
	}
	u, err := a.Identify(t.Context(), kept[0])
	if err != nil || u.Name != auth.Admin || u.Role != ci.RoleAdmin {
		t.Fatalf("got %+v, %v; want the admin", u, err)
	}
	if made, err := a.Bootstrap(t.Context(), keep); made || err != nil || len(kept) != 1 {
		t.Errorf("second start: got made %v, %v; want nothing done", made, err)
	}
	tokens, err := db.Tokens(t.Context(), auth.Admin)
	if err != nil || len(tokens) != 1 || strings.Contains(tokens[0].Hash, kept[0][4:]) || len(tokens[0].Hash) != 64 {
		t.Errorf("got %+v, %v; want one token, kept as a hash", tokens, err)
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	db := open(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := auth.New(db, func() time.Time { return now })
	user(t, db, ci.User{Name: "u", Role: ci.RoleBuilder, Password: "hash"})
	secret, k, err := a.Issue(t.Context(), ci.Token{User: "u", Expires: now.Add(time.Hour)})
	if err != nil || !strings.HasPrefix(secret, "slu_") || len(secret) != 47 {
		t.Fatalf("got %q, %v", secret, err)
	}
	if u, err := a.Identify(t.Context(), secret); err != nil || u.Role != ci.RoleBuilder || u.Password != "" {
		t.Fatalf("got %+v, %v; want a builder, and not its password", u, err)
	}
	if used, err := db.TokenByHash(t.Context(), k.Hash); err != nil || !used.LastUsed.Equal(now) {
		t.Errorf("got last used %v, %v; want %v", used.LastUsed, err, now)
	}
	other := []byte(secret)
	other[10] ^= 1
	for _, bad := range []string{"", "slu_", secret[:46], secret + "A", string(other), "SLU_" + secret[4:], k.Hash, strings.Repeat("x", 1<<16)} {
		if _, err := a.Identify(t.Context(), bad); !errors.Is(err, ci.ErrDenied) {
			t.Errorf("%.60q: got %v, want it denied", bad, err)
		}
	}
	user(t, db, ci.User{Name: "u", Role: ci.RoleBuilder, Disabled: true})
	if _, err := a.Identify(t.Context(), secret); !errors.Is(err, ci.ErrDenied) {
		t.Errorf("disabled: got %v, want it denied", err)
	}
	user(t, db, ci.User{Name: "u", Role: ci.RoleBuilder})
	now = now.Add(time.Hour)
	if _, err := a.Identify(t.Context(), secret); !errors.Is(err, ci.ErrDenied) {
		t.Errorf("expired: got %v, want it denied", err)
	}
	if _, _, err := a.Issue(t.Context(), ci.Token{User: "u", Expires: now}); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("got %v, want a token that has expired refused", err)
	}
	if _, _, err := a.Issue(t.Context(), ci.Token{User: "nobody"}); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("got %v, want no token for nobody", err)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	db := open(t)
	a := auth.New(db, nil)
	user(t, db, ci.User{Name: "u", Role: ci.RoleMaintainer, Projects: map[string]ci.Role{"web": ci.RoleAdmin, "db": ci.RoleViewer}})
	for _, c := range []struct {
		scopes       []string
		role, web    ci.Role
		only         string
		wantsRefusal bool
	}{
		{scopes: nil, role: ci.RoleMaintainer, web: ci.RoleAdmin},
		{scopes: []string{"role:builder"}, role: ci.RoleBuilder, web: ci.RoleBuilder},
		{scopes: []string{"role:viewer", "role:builder"}, role: ci.RoleBuilder, web: ci.RoleBuilder},
		{scopes: []string{"role:admin"}, role: ci.RoleMaintainer, web: ci.RoleAdmin},
		{scopes: []string{"project:web", "project:x1"}, role: ci.RoleMaintainer, web: ci.RoleAdmin, only: "web x1"},
		{scopes: []string{"project:web", "role:viewer"}, role: ci.RoleViewer, web: ci.RoleViewer, only: "web"},
		{scopes: []string{"role:god"}, wantsRefusal: true},
		{scopes: []string{"project:a/b"}, wantsRefusal: true},
		{scopes: []string{"everything"}, wantsRefusal: true},
	} {
		secret, _, err := a.Issue(t.Context(), ci.Token{User: "u", Scopes: c.scopes})
		if c.wantsRefusal {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Errorf("%v: got %v, want it refused", c.scopes, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		u, err := a.Identify(t.Context(), secret)
		if err != nil || u.Role != c.role || u.Projects["web"] != c.web || strings.Join(u.Only, " ") != c.only || u.Projects["db"] != ci.RoleViewer {
			t.Errorf("%v: got %+v, %v; want %s, in web %s, only %q", c.scopes, u, err, c.role, c.web, c.only)
		}
	}
}

// memory is a store of one user whose token has any scopes, those of a newer
// sluice too.
type memory struct {
	auth.Store
	user   ci.User
	scopes []string
}

func (m memory) Holder(_ context.Context, hash string) (ci.Token, ci.User, error) {
	return ci.Token{Hash: hash, User: "u", Scopes: m.scopes}, m.user, nil
}
func (m memory) TokenUsed(context.Context, string, time.Time) error { return nil }

// TestScopesOnlyTake holds that no scopes, whatever they say, give a right.
func TestScopesOnlyTake(t *testing.T) {
	t.Parallel()
	role := rapid.SampledFrom(append(ci.Roles(), ci.RoleNone))
	rapid.Check(t, func(t *rapid.T) {
		u := ci.User{Name: "u", Role: role.Draw(t, "role"), Projects: map[string]ci.Role{"web": role.Draw(t, "in web")}}
		scopes := rapid.SliceOf(rapid.SampledFrom([]string{"role:viewer", "role:admin", "role:builder", "project:web", "project:x", "role:", "", "tomorrow", "role:god"})).Draw(t, "scopes")
		got, err := auth.New(memory{user: u, scopes: scopes}, nil).Identify(t.Context(), "slu_"+strings.Repeat("0", 43))
		if err != nil {
			t.Fatal(err)
		}
		if !u.Role.AtLeast(got.Role) || !u.Projects["web"].AtLeast(got.Projects["web"]) || len(got.Projects) > 1 {
			t.Fatalf("%v made %+v of %+v", scopes, got, u)
		}
		for _, s := range scopes {
			if (s == "tomorrow" || s == "") && (got.Role != ci.RoleNone || got.Projects["web"] != ci.RoleNone) {
				t.Fatalf("scope %q, which means nothing here, lets %s through", s, got.Role)
			}
		}
	})
}

// TestWithin: what is within other scopes gives nobody more than those do, and
// all scopes are within none.
func TestWithin(t *testing.T) {
	t.Parallel()
	role := rapid.SampledFrom(append(ci.Roles(), ci.RoleNone))
	some := rapid.SliceOfN(rapid.SampledFrom([]string{"role:viewer", "role:admin", "role:builder", "role:maintainer", "project:web", "project:app", "tomorrow"}), 0, 4)
	reach := func(u ci.User, project string) ci.Role {
		if u.Only != nil && !slices.Contains(u.Only, project) {
			return ci.RoleNone
		}
		if own := u.Projects[project]; own.AtLeast(u.Role) {
			return own
		}
		return u.Role
	}
	rapid.Check(t, func(t *rapid.T) {
		u := ci.User{Name: "u", Role: role.Draw(t, "role"), Projects: map[string]ci.Role{"web": role.Draw(t, "in web")}}
		less, more := some.Draw(t, "less"), some.Draw(t, "more")
		a := auth.New(memory{user: u, scopes: less}, nil)
		if !a.Within(less, nil) || !a.Within(less, less) {
			t.Fatalf("%v is not within itself, or not within everything", less)
		}
		small, err := a.Identify(t.Context(), "slu_"+strings.Repeat("0", 43))
		if err != nil {
			t.Fatal(err)
		}
		big, err := auth.New(memory{user: u, scopes: more}, nil).Identify(t.Context(), "slu_"+strings.Repeat("0", 43))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(small.Token.Scopes, less) || small.Token.Hash != "" {
			t.Fatalf("got token %+v, want its scopes and no hash", small.Token)
		}
		if !a.Within(less, more) {
			return
		}
		for _, p := range []string{"web", "app", "other"} {
			if !reach(big, p).AtLeast(reach(small, p)) {
				t.Fatalf("%v is said to be within %v, and makes %s of %+v in %s, not %s", less, more, reach(small, p), u, p, reach(big, p))
			}
		}
	})
	a := auth.New(memory{}, nil)
	for _, c := range []struct {
		less, more string
		want       bool
	}{
		{"", "role:viewer", false}, {"role:viewer", "role:builder", true}, {"role:builder", "role:viewer", false}, {"", "role:admin", true},
		{"project:web", "project:web project:app", true}, {"project:web project:app", "project:web", false}, {"role:viewer", "project:web", false},
		{"project:web", "role:viewer", false}, {"role:viewer project:web", "role:viewer", true}, {"", "tomorrow", false}, {"role:viewer", "tomorrow", false},
	} {
		if got := a.Within(strings.Fields(c.less), strings.Fields(c.more)); got != c.want {
			t.Errorf("%q within %q: got %v", c.less, c.more, got)
		}
	}
}
