package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
)

var record = flag.Bool("record", false, "write testdata/vault.json anew, from the vault in PATH")

// exchange is a request to a real Vault and what it answered. Tokens and IDs,
// which differ each time, go by names.
type exchange struct {
	Request string `json:"request"`
	Status  int    `json:"status"`
	Answer  string `json:"answer"` // as it came
}

const vaultRecord = "testdata/vault.json"

// vaultServer is a real Vault, where there is one in PATH; else what one answered,
// word for word, when the record was made.
type vaultServer struct {
	url, role, secretID string
	mu                  sync.Mutex
	said                []exchange
	names               map[string]string
}

func newVaultServer(t *testing.T) *vaultServer {
	t.Helper()
	if exe, err := exec.LookPath("vault"); err == nil {
		return realVault(t, exe)
	}
	if *record {
		t.Fatal("there is no vault in PATH to record")
	}
	v := &vaultServer{role: "ROLE", secretID: "SECRET-ID"}
	text, err := os.ReadFile(vaultRecord)
	if err == nil {
		err = json.Unmarshal(text, &v.said)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		line := describe(r, body, nil)
		for _, e := range v.said {
			if e.Request == line {
				w.WriteHeader(e.Status)
				_, _ = io.WriteString(w, e.Answer)
				return
			}
		}
		t.Errorf("nobody ever asked Vault %q; record it", line)
		http.Error(w, "not recorded", http.StatusTeapot)
	}))
	t.Cleanup(s.Close)
	v.url = s.URL
	return v
}

func describe(r *http.Request, body []byte, names map[string]string) string {
	token := r.Header.Get("X-Vault-Token")
	line := fmt.Sprintf("%s %s ns=%s token=%s %s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Vault-Namespace"), token, body)
	for text, name := range names {
		line = strings.ReplaceAll(line, text, name)
	}
	return line
}

// realVault starts one in memory, with an engine of each version, a policy and a role.
func realVault(t *testing.T, exe string) *vaultServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	cmd := exec.Command(exe, "server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token", "-dev-listen-address="+addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		buf, seen, open := make([]byte, 4096), "", true
		for {
			n, err := out.Read(buf)
			if seen += string(buf[:n]); open && strings.Contains(seen, "Development mode should NOT") {
				close(ready)
				open = false
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-drained:
		t.Fatal("vault ended before it listened")
	case <-time.After(90 * time.Second):
		t.Fatal("vault does not listen")
	}
	base := "http://" + addr
	do := func(method, path, body string) map[string]any {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, base+"/v1/"+path, strings.NewReader(body))
		req.Header.Set("X-Vault-Token", "root")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out map[string]any
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
		}
		_ = json.Unmarshal(text, &out)
		data, _ := out["data"].(map[string]any)
		return data
	}
	do("POST", "secret/data/app/db", `{"data":{"password":"first","port":5432}}`)
	do("POST", "secret/data/app/db", `{"data":{"password":"second","port":5432}}`)
	do("POST", "secret/data/app/old", `{"data":{"password":"gone"}}`)
	do("DELETE", "secret/data/app/old", "")
	do("POST", "secret/data/other", `{"data":{"password":"not for ci"}}`)
	do("POST", "sys/mounts/team/kv", `{"type":"kv","options":{"version":"2"}}`)
	do("POST", "team/kv/data/app/a b", `{"data":{"k/e y":"deep"}}`)
	do("POST", "sys/mounts/one", `{"type":"kv","options":{"version":"1"}}`)
	do("POST", "one/app", `{"password":"plain"}`)
	do("PUT", "sys/policies/acl/ci", `{"policy":"path \"secret/data/app/*\" { capabilities=[\"read\"] }\npath \"team/kv/data/*\" { capabilities=[\"read\"] }\npath \"one/*\" { capabilities=[\"read\"] }"}`)
	do("POST", "sys/auth/approle", `{"type":"approle"}`)
	do("POST", "auth/approle/role/ci", `{"token_policies":"ci","token_ttl":"10m"}`)
	v := &vaultServer{names: map[string]string{}}
	v.role = do("GET", "auth/approle/role/ci/role-id", "")["role_id"].(string)
	v.secretID = do("POST", "auth/approle/role/ci/secret-id", "")["secret_id"].(string)
	v.names[v.role], v.names[v.secretID] = "ROLE", "SECRET-ID"

	target, _ := url.Parse(base)
	proxy := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		v.mu.Lock()
		line := describe(r, body, v.names)
		v.mu.Unlock()
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		text := answer.Body.Bytes()
		w.WriteHeader(answer.Code)
		_, _ = w.Write(text)
		var login struct {
			Auth struct {
				Token string `json:"client_token"`
			}
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if json.Unmarshal(text, &login) == nil && login.Auth.Token != "" {
			v.names[login.Auth.Token] = "TOKEN"
			text = bytes.ReplaceAll(text, []byte(login.Auth.Token), []byte("TOKEN"))
		}
		v.said = append(v.said, exchange{line, answer.Code, string(text)})
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() {
		if !*record {
			return
		}
		text, err := json.MarshalIndent(v.said, "", " ")
		if err == nil {
			err = os.WriteFile(vaultRecord, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	})
	v.url = s.URL
	return v
}

func newVault(t *testing.T, c secret.VaultConfig) *secret.Vault {
	t.Helper()
	v, err := secret.NewVault(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestVault(t *testing.T) {
	t.Parallel()
	s := newVaultServer(t)
	role := newVault(t, secret.VaultConfig{Address: s.url + "/", RoleID: s.role, SecretIDFile: write(t, s.secretID+"\n")})
	root := newVault(t, secret.VaultConfig{Address: s.url, Token: "root"})
	file := write(t, "bad\n")
	fromFile := newVault(t, secret.VaultConfig{Address: s.url, TokenFile: file})
	for _, c := range []struct {
		vault     *secret.Vault
		ref, want string
		err       error
	}{
		{role, "vault:secret/app/db#password", "second", nil},
		{role, "vault:secret/app/db#password@1", "first", nil},
		{role, "vault:secret/app/db#port", "5432", nil},
		{role, "vault:secret/app/db", `{"password":"second","port":5432}`, nil},
		{role, "vault:secret/app/db#none", "", ci.ErrNotFound},
		{role, "vault:secret/app/db#password@9", "", ci.ErrNotFound},
		{role, "vault:secret/app/old#password", "", ci.ErrNotFound},
		{role, "vault:secret/app/none#x", "", ci.ErrNotFound},
		{role, "vault:secret/other#password", "", ci.ErrDenied},
		{role, "vault:team/kv/app/a b#k", "", ci.ErrInvalid},
		{role, "vault:one/app#password", "plain", nil},
		{role, "vault:one/app#password@1", "", ci.ErrInvalid},
		{role, "vault:team/kv#x", "", ci.ErrDenied},
		{role, "vault:nowhere/app#x", "", ci.ErrDenied},
		{root, "vault:secret/other#password", "not for ci", nil},
		{root, "vault:nowhere/app#x", "", ci.ErrNotFound},
		{fromFile, "vault:secret/other#password", "", ci.ErrDenied},
	} {
		got, err := c.vault.Lookup(t.Context(), ci.SecretsManager, c.ref)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", c.ref, got, err, c.want, c.err)
		}
		if err != nil && strings.Contains(err.Error(), s.secretID) {
			t.Errorf("%s: the error tells the secret ID: %v", c.ref, err)
		}
	}
	if err := os.WriteFile(file, []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := fromFile.Lookup(t.Context(), ci.ParameterStore, "vault:secret/other#password"); got != "not for ci" || err != nil {
		t.Errorf("the token in the file was replaced: got %q, %v", got, err)
	}
	stranger := newVault(t, secret.VaultConfig{Address: s.url, RoleID: s.role, SecretIDFile: write(t, "no-such-id")})
	if _, err := stranger.Lookup(t.Context(), ci.ParameterStore, "vault:secret/app/db#x"); !errors.Is(err, ci.ErrDenied) || !strings.Contains(err.Error(), "invalid role or secret ID") {
		t.Errorf("a wrong secret ID: got %v", err)
	}
}

// What a Vault in memory does not do: be busy, be away, end a token early, need
// certificates, send on to another host.
func TestVaultFaults(t *testing.T) {
	t.Parallel()
	var logins, reads atomic.Int64
	busy := atomic.Bool{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Vault-Namespace") != "team":
			w.WriteHeader(http.StatusTeapot)
		case r.URL.Path == "/v1/auth/approle/login":
			fmt.Fprintf(w, `{"auth":{"client_token":"t%d","lease_duration":3600}}`, logins.Add(1))
		case strings.HasPrefix(r.URL.Path, "/v1/sys/internal"):
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/v1/kv/data/away":
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusTemporaryRedirect)
		case r.URL.Path == "/v1/kv/data/html":
			_, _ = io.WriteString(w, "<html>")
		case busy.CompareAndSwap(true, false):
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Header.Get("X-Vault-Token") == "t1" && reads.Add(1) > 1:
			w.WriteHeader(http.StatusForbidden) // revoked meanwhile
		default:
			_, _ = io.WriteString(w, `{"data":{"data":{"k":"v"}}}`)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ca := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	v := newVault(t, secret.VaultConfig{Address: s.URL, Namespace: "team", CA: ca, RoleID: "r", SecretIDFile: write(t, "s")})
	look := func(ref string) (string, error) { return v.Lookup(t.Context(), ci.SecretsManager, ref) }
	for i := range 3 {
		busy.Store(i == 1)
		if got, err := look("vault:kv/app#k"); got != "v" || err != nil {
			t.Errorf("%d: got %q, %v", i, got, err)
		}
	}
	if n := logins.Load(); n < 2 || n > 4 {
		t.Errorf("logged in %d times; want once again after the first token ended", n)
	}
	if _, err := look("vault:kv/away#k"); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "which the token is not for") {
		t.Errorf("sent on: got %v", err)
	}
	if _, err := look("vault:kv/html#k"); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("no Vault: got %v", err)
	}
	strict := newVault(t, secret.VaultConfig{Address: s.URL, Token: "t"})
	if _, err := strict.Lookup(t.Context(), ci.SecretsManager, "vault:kv/app#k"); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: got %v", err)
	}
	for what, c := range map[string]secret.VaultConfig{
		"want https://HOST:PORT": {Address: "vault", Token: "t"}, "no way to get in": {Address: s.URL}, "a file that holds its secret ID": {Address: s.URL, RoleID: "r"},
		"holds no certificate": {Address: s.URL, Token: "t", CA: write(t, "x")}, "its key go together": {Address: s.URL, Token: "t", Cert: ca},
	} {
		if _, err := secret.NewVault(c); !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v; want %q", err, what)
		}
	}
}

func FuzzParseVaultRef(f *testing.F) {
	for _, s := range []string{"vault:kv/app#k", "vault:kv/a/b#k@3", "vault:", "vault:kv", "vault:kv/../x#k", "vault:kv/a#@1", "vault:kv/a#k@0", "vault:kv/a?x#k", "vault:kv/%2e%2e/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		r, err := secret.ParseVaultRef(ref)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, part := range strings.Split(r.Path, "/") {
			if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?#%\x00\n") {
				t.Fatalf("%q became the path %q", ref, r.Path)
			}
		}
		back := secret.VaultPrefix + r.Path
		if r.Key != "" {
			back += "#" + r.Key
		}
		if r.Version < 0 || !strings.HasPrefix(ref, back) {
			t.Fatalf("%q became %+v", ref, r)
		}
	})
}
