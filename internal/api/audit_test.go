package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// TestAudit: who, what, when, from where; and who may look at it.
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	before := time.Now()
	w.project("web", whole)
	w.project("app", whole)
	builder := w.user(ci.User{Name: "b", Role: ci.RoleBuilder})
	status, h, body := w.raw("POST", "/api/v1/projects/web/builds", builder, "{}", "Idempotency-Key", "k")
	if status != 201 {
		t.Fatalf("got %d %s", status, body)
	}
	if status, _, _ := w.raw("POST", "/api/v1/projects/web/builds", builder, "{}", "Idempotency-Key", "k"); status != 200 {
		t.Fatalf("got %d", status)
	}
	w.done("web", 1)
	page, err := w.admin.Audit(ctx, client.AuditFilter{Verb: "build"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("got %+v, %v; want the one start", page.Items, err)
	}
	e := page.Items[0]
	tokens, err := w.store.Tokens(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	want := client.AuditEntry{ID: e.ID, Time: e.Time, User: "b", Verb: "build.start", Project: "web", Build: firstID(t, w), Detail: "build 1", Address: "127.0.0.1", Token: tokens[0].ID, Request: h.Get("X-Request-Id")}
	if e != want || e.Time.Before(before) || e.Time.After(time.Now()) {
		t.Errorf("got %+v\nwant %+v, now", e, want)
	}
	if page, err := w.admin.Audit(ctx, client.AuditFilter{User: "admin", Project: "app", Since: before, Until: time.Now()}); err != nil || len(page.Items) != 1 || page.Items[0].Verb != "project.create" {
		t.Errorf("got %+v, %v; want that app was made", page.Items, err)
	}
	_, err = w.admin.Audit(ctx, client.AuditFilter{Paging: client.Paging{After: "x"}})
	wantError(t, err, 422, "invalid", "cursor")
	// Administrators of a project see what was done there, and nothing else.
	chief := w.client(w.user(ci.User{Name: "chief", Role: ci.RoleMaintainer, Projects: map[string]ci.Role{"web": ci.RoleAdmin}}))
	_, err = chief.Audit(ctx, client.AuditFilter{})
	wantError(t, err, 403, "denied", "admin")
	_, err = chief.Audit(ctx, client.AuditFilter{Project: "app"})
	wantError(t, err, 403, "denied", "admin")
	if page, err := chief.Audit(ctx, client.AuditFilter{Project: "web"}); err != nil || len(page.Items) != 2 {
		t.Errorf("got %+v, %v; want what was done in web", page.Items, err)
	}
	if strings.Contains(w.log.String(), builder) {
		t.Error("the log has a token")
	}
}
