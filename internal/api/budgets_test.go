package api_test

import (
	"testing"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestBudgetRefusesBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	ctx := t.Context()
	maintainer := w.client(w.user(ci.User{Name: "m", Role: ci.RoleMaintainer}))
	_, err := maintainer.SetBudget(ctx, client.Budget{Project: "web", Minutes: 1})
	wantError(t, err, 403, "denied", "admin")
	_, err = w.admin.SetBudget(ctx, client.Budget{Project: "web", Cost: 5, Currency: "$", Warn: []int{0}, Override: "soon", Minutes: -1})
	for _, field := range []string{"minutes", "currency", "warn[0]", "override"} {
		wantError(t, err, 422, "invalid", field)
	}
	s, err := w.admin.SetBudget(ctx, client.Budget{Project: "web", Minutes: 1})
	if err != nil || !s.Stopped || s.Spent.Minutes != 1 || s.Forecast.Minutes < 1 {
		t.Fatalf("got %+v, %v; want one minute of one", s, err)
	}
	for _, try := range []func() error{
		func() error { _, _, err := w.admin.StartBuild(ctx, "web", client.StartBuild{}); return err },
		func() error { _, _, err := w.admin.RetryBuild(ctx, "web", 1, client.RetryOptions{}); return err },
	} {
		wantError(t, try(), 403, client.OverBudget, `budget of project "web"`)
	}
	s.Override = s.Month
	if s, err = w.admin.SetBudget(ctx, s.Budget); err != nil || s.Stopped {
		t.Fatalf("got %+v, %v; want it lifted", s, err)
	}
	w.start("web", client.StartBuild{})
	w.done("web", 2)
	if s, err = w.admin.SetBudget(ctx, client.Budget{Minutes: 2, Warn: []int{100}}); err != nil || !s.Stopped {
		t.Fatalf("got %+v, %v; want the server's used up", s, err)
	}
	_, _, err = w.admin.StartBuild(ctx, "web", client.StartBuild{})
	wantError(t, err, 403, client.OverBudget, "budget of the server")
	member := w.client(w.user(ci.User{Name: "p", Projects: map[string]ci.Role{"web": ci.RoleViewer}}))
	stranger := w.client(w.user(ci.User{Name: "s"}))
	for name, c := range map[string]struct {
		asks *client.Client
		want int
	}{"admin": {w.admin, 2}, "maintainer": {maintainer, 2}, "member": {member, 1}, "stranger": {stranger, 0}} {
		if list, err := c.asks.Budgets(ctx); err != nil || len(list) != c.want {
			t.Errorf("%s: got %+v, %v; want %d budgets", name, list, err, c.want)
		}
	}
	for _, project := range []string{"web", ""} {
		if err := w.admin.DeleteBudget(ctx, project); err != nil {
			t.Error(err)
		}
	}
	w.start("web", client.StartBuild{})
	w.done("web", 3)
}
