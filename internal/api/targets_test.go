package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	ctx := t.Context()
	maintainer := w.client(w.user(ci.User{Name: "m", Projects: map[string]ci.Role{"web": ci.RoleMaintainer}}))
	put, err := maintainer.PutTarget(ctx, client.PutTarget{Target: client.Target{Name: "hook", Project: "web", Kind: "webhook", URL: "https://example.com/x", Branches: []string{"main"}}})
	if err != nil || !strings.HasPrefix(put.Secret, "whsec_") || !put.HasSecret || put.Project != "web" {
		t.Fatalf("got %+v, %v; want a target with a key", put, err)
	}
	// The key is not shown again, and stays when the rest changes.
	again, err := maintainer.PutTarget(ctx, client.PutTarget{Target: put.Target})
	if err != nil || again.Secret != "" || !again.HasSecret {
		t.Errorf("got %+v, %v; want the same without its key", again, err)
	}
	stored, err := w.store.Target(ctx, "web", "hook")
	if err != nil || stored.Sealed != "sealed target web/hook "+put.Secret {
		t.Errorf("got %q, %v; want the key sealed under the target's name", stored.Sealed, err)
	}
	// Of a chat the address is the secret.
	chat, err := w.admin.PutTarget(ctx, client.PutTarget{Target: client.Target{Name: "team", Kind: "slack", URL: "https://hooks.example.com/T0/SECRET"}})
	if err != nil || chat.URL != "https://hooks.example.com/…" || !chat.HasSecret {
		t.Errorf("got %+v, %v", chat, err)
	}
	chat.Statuses = []string{"failed"}
	if chat, err = w.admin.PutTarget(ctx, client.PutTarget{Target: chat.Target}); err != nil || chat.URL != "https://hooks.example.com/…" {
		t.Errorf("put as it was shown: got %+v, %v", chat, err)
	}
	if s, err := w.store.Target(ctx, "", "team"); err != nil || !strings.HasSuffix(s.Sealed, "/T0/SECRET") {
		t.Errorf("the address is %q, %v", s.Sealed, err)
	}
	_, _, text := w.raw("GET", "/api/v1/targets", w.token, "")
	if strings.Contains(text, "SECRET") || strings.Contains(text, "sealed") {
		t.Errorf("the list shows a secret: %s", text)
	}
	for name, wantDelivered := range map[string]bool{"hook": true} {
		if got, err := maintainer.TestTarget(ctx, "web", name); err != nil || got.Delivered != wantDelivered {
			t.Errorf("test of %s: %+v, %v", name, got, err)
		}
	}
	if got, err := w.admin.TestTarget(ctx, "", "team"); err != nil || got.Delivered || !strings.Contains(got.Error, "no slack today") {
		t.Errorf("test of a target that does not take it: %+v, %v", got, err)
	}
	if err := maintainer.DeleteTarget(ctx, "web", "hook"); err != nil {
		t.Error(err)
	}
	_, err = maintainer.Target(ctx, "web", "hook")
	wantError(t, err, 404, "not_found", "hook")
}

func TestTargetsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	ctx := t.Context()
	password := "pw"
	mail := client.Target{Name: "mail", Kind: "mail", Mail: &client.MailRoute{Server: "smtp.example.com:587", User: "ci", From: "ci@example.com", To: []string{"a@example.com"}}}
	if _, err := w.admin.PutTarget(ctx, client.PutTarget{Target: mail, Secret: &password}); err != nil {
		t.Fatal(err)
	}
	elsewhere := mail
	elsewhere.Mail = &client.MailRoute{Server: "evil.example.com:587", User: "ci", From: "ci@example.com", To: []string{"a@example.com"}}
	bare := *mail.Mail
	bare.TLS = "none"
	open := mail
	open.Mail = &bare
	for name, c := range map[string]struct {
		t    client.Target
		want []string
	}{
		"the kept password for another server": {elsewhere, []string{"secret", "give the password again"}},
		"a password for all to read":           {open, []string{"mail.tls", "starttls"}},
		"no kind":                              {client.Target{Name: "x", Kind: "pigeon"}, []string{"kind", "pigeon"}},
		"all at once": {client.Target{Name: "x", Project: "web", Kind: "webhook", URL: "ftp://x", Events: []string{"output"}, Statuses: []string{"fine"}, Branches: []string{"[", ""}, Projects: []string{"a"}},
			[]string{"url", "events[0]", "statuses[0]", "branches[0]", "branches[1]", "projects"}},
		"a password in an address": {client.Target{Name: "x", Kind: "webhook", URL: "https://me:s3cret@example.com/"}, []string{"url", "user or password"}},
		"no address":               {client.Target{Name: "x", Kind: "slack"}, []string{"url", "is missing"}},
		"no readers":               {client.Target{Name: "x", Kind: "mail", Mail: &client.MailRoute{Server: "x", From: "nobody", TLS: "some"}}, []string{"mail.server", "mail.from", "mail.to", "mail.tls"}},
		"a header in an address":   {client.Target{Name: "x", Kind: "mail", Mail: &client.MailRoute{Server: "x:25", From: "a@example.com", To: []string{"a@example.com\r\nBcc: b@example.com"}}}, []string{"mail.to[0]"}},
		"changes of no ends":       {client.Target{Name: "x", Kind: "webhook", URL: "https://x", Events: []string{"build_started"}, Changed: true}, []string{"changed"}},
		"a name":                   {client.Target{Name: "-x@y", Kind: "webhook", URL: "https://x"}, []string{"name"}},
	} {
		_, err := w.admin.PutTarget(ctx, client.PutTarget{Target: c.t})
		if err == nil {
			t.Errorf("%s: it was taken", name)
			continue
		}
		e := wantError(t, err, 422, "invalid", "")
		for _, text := range c.want {
			if !strings.Contains(e.Error(), text) {
				t.Errorf("%s: got %v, want %q in it", name, e, text)
			}
		}
		if strings.Contains(e.Error(), "s3cret") {
			t.Errorf("%s: the answer shows the password", name)
		}
	}
}

func TestDeliveriesAndRedelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	ctx := t.Context()
	w.target(true, "web", "hook")
	target, err := w.store.Target(ctx, "web", "hook")
	if err != nil {
		t.Fatal(err)
	}
	var planned []ci.Delivery
	for n := range 3 {
		planned = append(planned, ci.Delivery{Event: int64(1000 + n), Created: time.Now(), Due: time.Now(), Notice: ci.Notice{Project: "web", Number: int64(n)}})
	}
	if err := w.store.Plan(ctx, []ci.Planned{{Target: target.ID, From: target.Seen, To: 2000, Deliveries: planned}}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.GiveUp(ctx, target.ID, time.Now().Add(time.Hour), time.Now(), "away"); err != nil {
		t.Fatal(err)
	}
	page, err := w.admin.Deliveries(ctx, "web", "hook", "dead", client.Paging{Limit: 2})
	if err != nil || len(page.Items) != 2 || page.Items[0].Notice.Number != 2 || page.Items[0].Error != "away" || page.Next == "" {
		t.Fatalf("got %+v, %v", page, err)
	}
	_, err = w.admin.Redeliver(ctx, "web", "hook", 9999)
	wantError(t, err, 404, "not_found", "9999")
	if n, err := w.admin.Redeliver(ctx, "web", "hook", page.Items[0].ID); err != nil || n != 1 {
		t.Errorf("one: %d, %v", n, err)
	}
	if n, err := w.admin.Redeliver(ctx, "web", "hook", 0); err != nil || n != 2 {
		t.Errorf("the rest: %d, %v", n, err)
	}
	_, err = w.admin.Deliveries(ctx, "web", "hook", "lost", client.Paging{})
	wantError(t, err, 422, "invalid", "state")
}
