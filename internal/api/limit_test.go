package api_test

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/ci"
)

// TestRate: who asks too much is told when to come again, and a client does; what
// others ask is not slowed down by it.
func TestRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Rate = 4 })
	w.project("web", whole)
	other := w.client(w.user(ci.User{Name: "other", Role: ci.RoleViewer}))
	for n := 0; ; n++ {
		status, h, body := w.raw("GET", "/api/v1/me", w.token, "")
		if status == 200 && n < 1000 {
			continue
		}
		if after, err := strconv.Atoi(h.Get("Retry-After")); status != 429 || err != nil || after != 1 || !strings.Contains(body, "requests with this token") {
			t.Fatalf("request %d: got %d, Retry-After %q, %s", n, status, h.Get("Retry-After"), body)
		}
		break
	}
	if _, err := other.Me(t.Context()); err != nil {
		t.Errorf("another's token: %v", err)
	}
	// A burst of builds: none fails, all are there.
	const builds = 10
	var work sync.WaitGroup
	for range builds {
		work.Go(func() {
			if _, _, err := w.admin.StartBuild(t.Context(), "web", client.StartBuild{}); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	for n := range builds {
		if err := w.engineDone("web", int64(n+1)); err != nil {
			t.Error(err)
		}
	}
	// Without a token it is the address that counts.
	for n := 0; ; n++ {
		status, _, body := w.raw("GET", "/api/v1/me", "slu_wrong", "")
		if status == 429 && strings.Contains(body, "without a token that is good") {
			break
		}
		if status != 401 || n > 200 {
			t.Fatalf("request %d: got %d %s", n, status, body)
		}
	}
	if status, _, body := w.raw("POST", "/api/v1/login", "", `{"user":"admin","password":"x"}`); status != 429 {
		t.Errorf("got %d %s", status, body)
	}
	if status, _, _ := w.raw("GET", "/healthz", "", ""); status != 200 {
		t.Errorf("healthz: got %d", status)
	}
}

// engineDone waits for the end of a build without asking the server.
func (w *world) engineDone(project string, number int64) error {
	id, err := w.store.BuildByNumber(w.t.Context(), project, number)
	for err == nil {
		changed := w.store.Changed()
		var b ci.Build
		if b, _, err = w.store.Load(w.t.Context(), id); err == nil && b.Status.Done() {
			return nil
		}
		if err == nil {
			<-changed
		}
	}
	return err
}

// TestStreamsEnd: what is open is cut when its token, its user or the user's role
// goes, and not before.
func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Recheck = 5 * time.Millisecond })
	ctx := t.Context()
	w.project("web", "phases: {build: {commands: [wait gate]}}")
	w.start("web", client.StartBuild{})
	for what, end := range map[string]func(name string) error{
		"token revoked": func(name string) error {
			all, err := w.store.Tokens(ctx, name)
			return errors.Join(err, w.admin.RevokeToken(ctx, all[0].ID))
		},
		"user disabled": func(name string) error {
			_, err := w.admin.PutUser(ctx, client.User{Name: name, Role: "viewer", Disabled: true})
			return err
		},
		"user deleted": func(name string) error { return w.admin.DeleteUser(ctx, name) },
		"role lost": func(name string) error {
			_, err := w.admin.PutUser(ctx, client.User{Name: name})
			return err
		},
		"group lost": func(name string) error { return w.admin.SetMember(ctx, "watchers", name, false) },
	} {
		name := strings.ReplaceAll(what, " ", "-")
		u := ci.User{Name: name, Role: ci.RoleViewer}
		if what == "group lost" {
			if _, err := w.admin.PutGroup(ctx, client.Group{Name: "watchers", Role: "viewer"}); err != nil {
				t.Fatal(err)
			}
			u.Role, u.Groups = ci.RoleNone, []string{"watchers"}
		}
		mine := w.client(w.user(u))
		heard := make(chan struct{}, 100)
		ended := make(chan error, 2)
		go func() {
			ended <- mine.Events(ctx, "web", 1, 0, func(client.Event) error { heard <- struct{}{}; return nil })
		}()
		go func() {
			r, err := mine.Log(ctx, "web", 1, client.LogOptions{Follow: true})
			if err == nil {
				buf := make([]byte, 1000)
				for err == nil {
					_, err = r.Read(buf)
				}
				_ = r.Close()
			}
			ended <- err
		}()
		<-heard
		if err := end(name); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for range 2 {
			select {
			case err := <-ended:
				var e *client.Error
				if !errors.As(err, &e) || e.Status != 401 && e.Status != 403 && e.Status != 404 {
					t.Errorf("%s: got %v, want it refused", what, err)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("%s: the stream goes on", what)
			}
		}
	}
	w.script.Release("gate")
	w.done("web", 1)
}

// TestManyStreams: each user may have so many open.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Streams = 2 })
	w.project("web", "phases: {build: {commands: [wait gate]}}")
	w.start("web", client.StartBuild{})
	ctx, stop := context.WithCancel(t.Context())
	var open sync.WaitGroup
	for range 2 {
		heard := make(chan struct{}, 100)
		open.Go(func() {
			_ = w.admin.Events(ctx, "web", 1, 0, func(client.Event) error { heard <- struct{}{}; return nil })
		})
		<-heard
	}
	if status, h, body := w.raw("GET", "/api/v1/projects/web/builds/1/events", w.token, ""); status != 429 || h.Get("Retry-After") == "" || !strings.Contains(body, "streams") {
		t.Errorf("a third: got %d %s", status, body)
	}
	other := w.user(ci.User{Name: "other", Role: ci.RoleViewer})
	got := make(chan struct{}, 100)
	open.Go(func() {
		_ = w.client(other).Events(ctx, "web", 1, 0, func(client.Event) error { got <- struct{}{}; return nil })
	})
	<-got
	stop()
	open.Wait()
	w.script.Release("gate")
	w.done("web", 1)
}

// TestProxies: the address of a client behind proxies of ours, which others cannot
// make up.
func TestProxies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		proxies, said, want string
	}{
		{"", "192.0.2.1", "127.0.0.1"},
		{"10.0.0.0/8", "192.0.2.1", "127.0.0.1"},
		{"127.0.0.0/8", "192.0.2.1", "192.0.2.1"},
		{"127.0.0.0/8", "192.0.2.9, 192.0.2.1", "192.0.2.1"},
		{"127.0.0.0/8 10.0.0.0/8", "198.51.100.1, 192.0.2.1, 10.1.2.3", "192.0.2.1"},
		{"127.0.0.0/8", "::ffff:192.0.2.1", "192.0.2.1"},
		{"127.0.0.0/8", "rubbish", "127.0.0.1"},
		{"127.0.0.0/8", "192.0.2.1, <script>", "127.0.0.1"},
		{"127.0.0.0/8", "", "127.0.0.1"},
	} {
		w := newWorld(t, func(a *api.Config) {
			for _, text := range strings.Fields(c.proxies) {
				a.Proxies = append(a.Proxies, netip.MustParsePrefix(text))
			}
		})
		if status, _, body := w.raw("PUT", "/api/v1/users/x", w.token, `{}`, "X-Forwarded-For", c.said); status != 201 {
			t.Fatalf("got %d %s", status, body)
		}
		if all := w.audit(); all[len(all)-1].Address != c.want {
			t.Errorf("%+v: got %q", c, all[len(all)-1].Address)
		}
	}
}
