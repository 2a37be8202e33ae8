package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
)

// The server is killed when it has sent a notice and does not know yet that it
// arrived: the next one sends it again, and what happened meanwhile, each signed.
func TestNotifiedThroughAKill(t *testing.T) {
	t.Setenv("SLUICE_NOTIFY_ALLOW", "127.0.0.0/8")
	type got struct {
		id, subject, signature string
		body                   []byte
	}
	came := make(chan got, 100)
	var first atomic.Bool
	dead := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e struct {
			ID      string `json:"id"`
			Subject string `json:"subject"`
		}
		if err != nil || json.Unmarshal(body, &e) != nil {
			return
		}
		came <- got{e.ID, e.Subject, r.Header.Get("Sluice-Signature"), body}
		if first.CompareAndSwap(false, true) {
			<-dead
		}
	}))
	t.Cleanup(hook.Close)
	next := func() got {
		t.Helper()
		select {
		case g := <-came:
			return g
		case <-time.After(2 * time.Minute):
			t.Fatal("nothing came")
			return got{}
		}
	}
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	s.project("app", `["true"]`)
	out := s.must("notify", "target", "ops", "--kind", "webhook", "--url", hook.URL)
	key := regexp.MustCompile(`whsec_\w+`).FindString(out)
	if text := s.must("notify", "show", "ops"); key == "" || strings.Contains(text, key) {
		t.Fatalf("got %q, then %q: want the key once", out, text)
	}
	s.must("build", "start", "app", "--follow")
	before := next()
	s.kill()
	close(dead)
	s = serverIn(t, data)
	again := next()
	if again.id != before.id || again.subject != "app/1" {
		t.Errorf("got %+v, want %s again", again, before.id)
	}
	s.must("build", "start", "app", "--follow")
	second := next()
	if second.subject != "app/2" {
		t.Errorf("got %+v, want app/2", second)
	}
	for _, g := range []got{before, again, second} {
		if err := client.VerifyWebhook(key, g.signature, g.body, time.Now(), time.Hour); err != nil {
			t.Error(err)
		}
	}
	if out := s.must("notify", "test", "ops"); !strings.Contains(out, "took the test") {
		t.Errorf("test: %q", out)
	}
	if g := next(); !strings.HasPrefix(g.id, "test.") {
		t.Errorf("got %+v, want a test", g)
	}
	hook.Close()
	if _, errs, code := s.run("notify", "test", "ops"); code == 0 || !strings.Contains(errs, "refused") {
		t.Errorf("a target that is away: exit %d, %q", code, errs)
	}
	found, err := os.ReadFile(filepath.Join(data, "sluice.db"))
	wal, _ := os.ReadFile(filepath.Join(data, "sluice.db-wal"))
	if err != nil || strings.Contains(string(found)+string(wal), key) {
		t.Errorf("the key lies in the database as it is (%v)", err)
	}
}

func TestNotifyCommands(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["true"]`)
	url := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(url, []byte("https://hooks.example.com/T/SECRET\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("notify", "target", "team", "--project", "app", "--kind", "slack", "--url-file", url, "--status", "failed", "--branch", "main")
	s.must("notify", "target", "team", "--project", "app", "--changed", "--branch", "")
	if out := s.must("notify", "list", "--project", "app"); !strings.Contains(out, "https://hooks.example.com/…") || strings.Contains(out, "SECRET") ||
		!strings.Contains(out, "build_finished changed status=failed  enabled") {
		t.Errorf("list: %q", out)
	}
	if out := s.must("notify", "deliveries", "team", "--project", "app", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("deliveries: %q", out)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a chat's address as an argument": {[]string{"notify", "target", "x", "--kind", "slack", "--url", "https://x"}, "--url-file"},
		"no kind":                         {[]string{"notify", "target", "x", "--changed"}, "not found"},
		"a state there is not":            {[]string{"notify", "deliveries", "team", "--state", "lost"}, "lost"},
		"a delivery there is not":         {[]string{"notify", "redeliver", "team", "--project", "app", "9"}, "delivery 9"},
		"no number":                       {[]string{"notify", "redeliver", "team", "x"}, "is no delivery"},
	} {
		if _, errs, code := s.run(c.args...); code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q; want %q", name, code, errs, c.want)
		}
	}
	s.must("notify", "redeliver", "team", "--project", "app")
	s.must("notify", "delete", "team", "--project", "app")
}
