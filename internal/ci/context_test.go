package ci

import (
	"context"
	"testing"
)

func TestUserInContext(t *testing.T) {
	t.Parallel()
	if u, ok := UserFrom(context.Background()); ok {
		t.Errorf("got %+v, want nobody", u)
	}
	ctx := WithUser(context.Background(), User{Name: "a", Role: RoleViewer})
	if u, ok := UserFrom(WithUser(ctx, User{Name: "b"})); !ok || u.Name != "b" {
		t.Errorf("got %+v, %v; want b", u, ok)
	}
	if u, _ := UserFrom(ctx); u.Name != "a" {
		t.Errorf("got %+v, want a", u)
	}
}

func TestRolesAreOrdered(t *testing.T) {
	t.Parallel()
	roles := append([]Role{RoleNone}, Roles()...)
	for i, a := range roles {
		for k, b := range roles {
			if got, want := a.AtLeast(b), i >= k; got != want {
				t.Errorf("%q at least %q: got %v, want %v", a, b, got, want)
			}
		}
		if got, want := a.Known(), i > 0; got != want {
			t.Errorf("%q known: got %v, want %v", a, got, want)
		}
	}
	if Role("god").AtLeast(RoleViewer) || Role("god").Known() {
		t.Error("what is no role may something")
	}
}
