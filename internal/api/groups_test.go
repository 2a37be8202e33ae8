package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// TestGroups: what a group gives holds from the next request on, and no longer
// than one is in it; also in private projects.
func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	p := w.project("hidden", whole)
	p.Private = true
	if _, err := w.admin.UpdateProject(ctx, p); err != nil {
		t.Fatal(err)
	}
	w.project("open1", whole)
	ann := w.client(w.user(ci.User{Name: "ann"}))
	may := func(project string, want int) {
		t.Helper()
		_, err := ann.Project(ctx, project)
		if want == 200 {
			if err != nil {
				t.Errorf("%s: %v", project, err)
			}
			return
		}
		wantError(t, err, want, map[int]string{403: "denied", 404: "not_found"}[want], "")
	}
	may("hidden", 404)
	may("open1", 404)
	g, err := w.admin.PutGroup(ctx, client.Group{Name: "team", Role: "viewer", Projects: map[string]string{"hidden": "builder"}})
	if err != nil || g.Revision != 1 {
		t.Fatalf("got %+v, %v", g, err)
	}
	for range 2 {
		if err := w.admin.SetMember(ctx, "team", "ann", true); err != nil {
			t.Fatal(err)
		}
	}
	may("hidden", 200)
	may("open1", 200)
	if _, _, err := ann.StartBuild(ctx, "hidden", client.StartBuild{}); err != nil {
		t.Error(err)
	}
	_, _, err = ann.StartBuild(ctx, "open1", client.StartBuild{})
	wantError(t, err, 403, "denied", "builder")
	if me, err := ann.Me(ctx); err != nil || me.Role != "viewer" || me.Projects["hidden"] != "builder" || !slices.Equal(me.Groups, []string{"team"}) {
		t.Errorf("got %+v, %v", me, err)
	}
	// A token's scopes narrow what groups give, too.
	narrow, err := ann.CreateToken(ctx, client.NewToken{Scopes: []string{"role:viewer", "project:hidden"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.client(narrow.Secret).StartBuild(ctx, "hidden", client.StartBuild{})
	wantError(t, err, 403, "denied", "builder")
	// A role of one's own in a project counts before a group's, and a change of the
	// user does not take her out of the group.
	if _, err := w.admin.PutUser(ctx, client.User{Name: "ann", Projects: map[string]string{"hidden": "viewer"}}); err != nil {
		t.Fatal(err)
	}
	_, _, err = ann.StartBuild(ctx, "hidden", client.StartBuild{})
	wantError(t, err, 403, "denied", "yours is viewer")
	if all, err := w.admin.Groups(ctx); err != nil || len(all) != 1 || !slices.Equal(all[0].Members, []string{"ann"}) {
		t.Errorf("got %+v, %v", all, err)
	}
	wantError(t, w.admin.SetMember(ctx, "team", "nobody", true), 404, "not_found", "nobody")
	wantError(t, w.admin.SetMember(ctx, "nothing", "ann", true), 404, "not_found", "nothing")
	_, err = w.admin.PutGroup(ctx, client.Group{Name: "-x", Description: "a\nb", Role: "king", Projects: map[string]string{"web": "lord"}})
	if got, want := fieldsOf(wantError(t, err, 422, "invalid", "not a role")), []string{"description", "name", "projects.web", "role"}; !slices.Equal(got, want) {
		t.Errorf("got fields %q, want %q", got, want)
	}
	g.Revision = 7
	_, err = w.admin.PutGroup(ctx, g)
	wantError(t, err, 412, "changed", "revision 7")
	// Administrators by a group do not count as the last one.
	if _, err := w.admin.PutGroup(ctx, client.Group{Name: "chiefs", Role: "admin"}); err != nil {
		t.Fatal(err)
	}
	if err := w.admin.SetMember(ctx, "chiefs", "ann", true); err != nil {
		t.Fatal(err)
	}
	wantError(t, ann.DeleteUser(ctx, "admin"), 409, "conflict", "last enabled administrator")
	if err := w.admin.DeleteGroup(ctx, "chiefs"); err != nil {
		t.Fatal(err)
	}
	_, err = ann.Users(ctx)
	wantError(t, err, 403, "denied", "admin")
	if err := w.admin.SetMember(ctx, "team", "ann", false); err != nil {
		t.Fatal(err)
	}
	may("open1", 404)
	w.done("hidden", 1)
	var verbs []string
	for _, e := range w.audit() {
		if strings.HasPrefix(e.Verb, "group.") {
			verbs = append(verbs, e.Verb+" "+e.Detail)
		}
	}
	if want := []string{
		`group.create group "team": role viewer, in hidden builder`, `group.add group "team", user "ann"`, `group.create group "chiefs": role admin`, `group.add group "chiefs", user "ann"`,
		`group.delete group "chiefs": role admin, members ann`, `group.remove group "team", user "ann"`,
	}; !slices.Equal(verbs, want) {
		t.Errorf("got %q", verbs)
	}
}
