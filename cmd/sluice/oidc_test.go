package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/oidc/oidctest"
)

// TestLoginInTheBrowser: sluice login, a browser, a real provider.
func TestLoginInTheBrowser(t *testing.T) {
	t.Parallel()
	issuer := oidctest.Start(t, map[string]map[string]any{"1": {"preferred_username": "ann", "groups": []string{"team"}}})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(oidctest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serverIn(t, filepath.Join(t.TempDir(), "data"), "--oidc-issuer", issuer, "--oidc-client", oidctest.ID, "--oidc-secret-file", secret,
		"--oidc-create", "true", "--oidc-groups-claim", "groups")
	s.must("group", "set", "team", "--role", "builder")
	h := home{s, t.TempDir()}
	cmd := exec.Command(s.exe, "login", s.url)
	cmd.Env = []string{"HOME=" + h.dir, "PATH=" + t.TempDir()} // where no browser is
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(errs)
	address := ""
	for address == "" && lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, s.url) {
			address = text
		}
	}
	if address == "" {
		t.Fatalf("no address; server:\n%s", s.said())
	}
	if status, _, text := oidctest.NewBrowser(t).Open(address, "1", nil); status != 200 || !strings.Contains(text, "Logged in") {
		t.Errorf("the browser ends at %d %s", status, text)
	}
	for lines.Scan() { // to its end
	}
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(out.String(), "logged in to "+s.url+" as ann until") {
		t.Fatalf("got %q, %v; server:\n%s", out.String(), err, s.said())
	}
	if got := h.must("", "whoami"); !strings.HasPrefix(got, "ann: builder, in team; it ends ") {
		t.Errorf("got %q", got)
	}
	if log := s.said(); strings.Contains(log, oidctest.Secret) || strings.Contains(log, "slu_") {
		t.Error("the log has a secret")
	}
	// The code by hand; a wrong one.
	_, said, code := h.run("not-a-code\n", "login", s.url, "--code")
	if code == 0 || !strings.Contains(said, "code is not good") || !strings.Contains(said, s.url+"/login/oidc?challenge=") {
		t.Errorf("got %d %q", code, said)
	}
	h.refused("", "--oidc-client", "config", "--oidc-issuer", "https://login.example.com")
	h.refused("", "--oidc-groups-claim", "config", "--oidc-issuer", "https://login.example.com", "--oidc-client", "x", "--oidc-groups", "staff")
	h.refused("", "oidc-role", "config", "--oidc-role", "king")
}
