package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// home is a person on a machine: commands of hers have her contexts, and nothing
// from the environment.
type home struct {
	*served
	dir string
}

func (h home) run(stdin string, args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	cmd := exec.Command(h.exe, args...)
	cmd.Env = []string{"HOME=" + h.dir, "PATH=" + os.Getenv("PATH")}
	for _, a := range os.Environ() {
		if strings.HasPrefix(a, "GOCOVERDIR=") {
			cmd.Env = append(cmd.Env, a)
		}
	}
	for len(args) > 0 && strings.Contains(args[len(args)-1], "SLUICE_") {
		cmd.Env = append(cmd.Env, args[len(args)-1])
		args = args[:len(args)-1]
		cmd.Args = append(cmd.Args[:1], args...)
	}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (h home) must(stdin string, args ...string) string {
	h.t.Helper()
	out, errs, code := h.run(stdin, args...)
	if code != 0 {
		h.t.Fatalf("sluice %s: exit %d\n%s%s\nserver:\n%s", strings.Join(args, " "), code, out, errs, h.said())
	}
	return out
}

func (h home) refused(stdin, text string, args ...string) {
	h.t.Helper()
	if out, errs, code := h.run(stdin, args...); code == 0 || !strings.Contains(errs, text) {
		h.t.Errorf("sluice %s: exit %d, %q, %q; want it refused with %q", strings.Join(args, " "), code, out, errs, text)
	}
}

// TestLoginCommands: from the first start over the link to several servers.
func TestLoginCommands(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	h := home{s, t.TempDir()}
	// Not on a terminal: the link is in a file of the owner's, and not in the log.
	link, err := os.ReadFile(filepath.Join(s.data, "admin-link"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(s.data, "admin-link")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the link's file: %v, %v", info.Mode(), err)
	}
	at := strings.TrimSpace(string(link))
	if strings.Contains(s.said(), at) || !strings.HasPrefix(at, s.url+"/password/") {
		t.Errorf("link %s, log %s", at, s.said())
	}
	resp, err := http.PostForm(at, url.Values{"password": {"correct horse"}, "again": {"correct horse"}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s, %v", resp.StatusCode, body, err)
	}

	h.refused("", "no terminal", "login", s.url)
	h.refused("wrong", "user or the password is wrong", "login", s.url, "--user", "admin", "--password-file", "-")
	if out := h.must("correct horse\n", "login", s.url, "--user", "admin", "--password-file", "-"); !strings.HasPrefix(out, "logged in to "+s.url+" as admin until ") {
		t.Errorf("got %q", out)
	}
	file := filepath.Join(h.dir, ".config", "sluice", "contexts.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("contexts: %v, %v", info, err)
	}
	if out := h.must("", "whoami"); !strings.HasPrefix(out, "admin: admin; it ends ") {
		t.Errorf("got %q", out)
	}
	h.must("", "user", "set", "ann", "--role", "viewer")
	h.must("battery staple", "user", "password", "ann", "--password-file", "-")
	h.must("battery staple", "login", s.url, "--user", "ann", "--password-file", "-", "--context", "hers")
	if out := h.must("", "whoami"); !strings.HasPrefix(out, "ann: viewer") {
		t.Errorf("got %q", out)
	}
	if out := h.must("", "whoami", "SLUICE_TOKEN="+s.token()); !strings.HasPrefix(out, "admin: admin\n") {
		t.Errorf("SLUICE_TOKEN does not count before the context: %q", out)
	}
	host := strings.TrimPrefix(s.url, "http://")
	if out := h.must("", "whoami", "SLUICE_CONTEXT="+host); !strings.HasPrefix(out, "admin: ") {
		t.Errorf("got %q", out)
	}
	// A session goes to the server that gave it and to no other.
	h.refused("", "no token", "whoami", "SLUICE_URL=http://127.0.0.1:1")
	h.refused("", "no token", "whoami", "--server", "http://127.0.0.1:1")
	if out := h.must("", "whoami", "--server", s.url+"/"); !strings.HasPrefix(out, "ann: ") {
		t.Errorf("got %q", out)
	}
	if out := h.must("", "context", "list"); !strings.Contains(out, "*  hers ") || strings.Count(out, "logged in") != 2 {
		t.Errorf("got %s", out)
	}
	h.refused("", `did you mean "hers"`, "context", "use", "her")
	h.must("", "context", "use", host)
	var shown map[string]any
	text := h.must("", "context", "show")
	if err := json.Unmarshal([]byte(text), &shown); err != nil || shown["user"] != "admin" || strings.Contains(text, "slu_") {
		t.Errorf("got %s, %v", text, err)
	}
	if out := h.must("", "token", "list", "--user", "ann"); !strings.Contains(out, "sluice login on") {
		t.Errorf("got %s", out)
	}
	h.must("", "logout")
	h.refused("", "no token", "whoami")
	h.refused("", "not logged in", "logout")
	h.must("", "context", "delete", host)
	h.refused("", "no context is in use", "context", "show")
	h.must("", "context", "use", "hers")
	h.must("", "logout")
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "slu_") {
		t.Errorf("after logging out: %s, %v", text, err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	h.refused("", "can be read by others", "whoami")
	if out := s.must("audit", "--verb", "login"); strings.Contains(out, "horse") {
		t.Errorf("got %s", out)
	}
}

// TestUserRecover: whoever has the server's data gets back in.
func TestUserRecover(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	old := s.token()
	if err := os.Remove(filepath.Join(s.data, "admin-token")); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (string, error) {
		out, err := exec.Command(s.exe, append([]string{"user", "recover"}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := command("--data", s.data); err == nil || !strings.Contains(out, "stop the server first") {
		t.Errorf("while it runs: %s, %v", out, err)
	}
	s.stop()
	if out, err := command("--data", t.TempDir()); err == nil || !strings.Contains(out, "no server's data") {
		t.Errorf("in an empty folder: %s, %v", out, err)
	}
	if out, err := command("--data", s.data, "--user", "a b"); err == nil || !strings.Contains(out, "cannot be the name") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := command("--data", s.data, "--user", "boss"); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	again := serverIn(t, s.data)
	if again.token() == old || again.must("whoami") != "boss: admin\n" {
		t.Errorf("got %s", again.must("whoami"))
	}
	if out, _, code := again.as(old, "whoami"); code != 0 || out != "admin: admin\n" {
		t.Errorf("what there was before: %d %s", code, out)
	}
	if out := again.must("audit", "--verb", "user.recover"); !strings.Contains(out, "this machine") || !strings.Contains(out, "boss") {
		t.Errorf("got %s", out)
	}
}
