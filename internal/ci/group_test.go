package ci_test

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestIn holds the rule of effective roles: the greatest counts in the server; in
// a project a role of one's own, else the greatest of those that groups give there.
func TestIn(t *testing.T) {
	t.Parallel()
	role := rapid.SampledFrom(append(ci.Roles(), ci.RoleNone))
	given := rapid.SampledFrom(ci.Roles())
	projects := rapid.MapOf(rapid.SampledFrom([]string{"web", "app", "db"}), given)
	rapid.Check(t, func(t *rapid.T) {
		u := ci.User{Name: "u", Role: role.Draw(t, "role"), Projects: projects.Draw(t, "projects")}
		before := maps.Clone(u.Projects)
		var groups []ci.Group
		for range rapid.IntRange(0, 4).Draw(t, "groups") {
			groups = append(groups, ci.Group{Role: role.Draw(t, "role of group"), Projects: projects.Draw(t, "projects of group")})
		}
		got := u.In(groups)
		if !maps.Equal(u.Projects, before) {
			t.Fatal("the user was changed")
		}
		if got.Role != u.Role {
			found := false
			for _, g := range groups {
				found = found || g.Role == got.Role
			}
			if !found || !got.Role.AtLeast(u.Role) {
				t.Fatalf("%s and %+v made %s", u.Role, groups, got.Role)
			}
		}
		for _, p := range []string{"web", "app", "db"} {
			want, own := u.Projects[p]
			for _, g := range groups {
				if !got.Role.AtLeast(g.Role) {
					t.Fatalf("%s is less than a group's %s", got.Role, g.Role)
				}
				if r, ok := g.Projects[p]; ok && !own && r.AtLeast(want) {
					want = r
				}
			}
			if got.Projects[p] != want {
				t.Fatalf("in %s: got %q, want %q of %+v", p, got.Projects[p], want, groups)
			}
		}
	})
}
