// Package oidctest has a real, certified OpenID provider for tests, and a browser
// that logs in there. test/engines/oidc.sh installs the provider.
//
// It knows nothing of Sluice.
//
// Invariant: a provider ends with its test.
package oidctest

import (
	"bufio"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ID and Secret are those of the client that the provider knows. It may be sent
// back to /login/callback on any port of 127.0.0.1.
const (
	ID     = "sluice"
	Secret = "of-the-server"
)

// Start runs a provider with accounts, each with its claims, and gives its URL.
// Its login form takes any password.
func Start(t testing.TB, accounts map[string]map[string]any) (issuer string) {
	t.Helper()
	folder := os.Getenv("SLUICE_TEST_OIDC")
	if folder == "" {
		t.Skip("SLUICE_TEST_OIDC is not set: test/engines/oidc.sh start prints it")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is missing: apt-get install nodejs npm")
	}
	text, err := json.Marshal(accounts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, filepath.Join(folder, "provider.js"), string(text))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("provider: %s", said.String())
		}
	})
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the provider ended before it was ready: %v", err)
		}
		if strings.HasPrefix(line, "http://") {
			go func() { _, _ = io.Copy(io.Discard, lines) }() // ends with the provider, whose end the test awaits
			return strings.TrimSpace(line)
		}
	}
}

// Browser is one of a person: it keeps cookies, follows redirects, and fills in
// the provider's forms.
type Browser struct {
	t    testing.TB
	http *http.Client
}

// NewBrowser opens one without any cookies.
func NewBrowser(t testing.TB) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t, &http.Client{Jar: jar}}
}

// Open opens an address, logs in as account and consents where the provider asks, and gives
// the page at which that ends, with its text. stop, where it is not nil, says at
// which address not to go on: then that address is the answer.
func (b *Browser) Open(address, account string, stop func(*url.URL) bool) (status int, at *url.URL, text string) {
	b.t.Helper()
	b.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if stop != nil && stop(r.URL) {
			at = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, err := b.http.Get(address)
	for {
		if err != nil {
			b.t.Fatal(err)
		}
		body, err2 := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err2 != nil {
			b.t.Fatal(err2)
		}
		if text = string(body); at != nil {
			return resp.StatusCode, at, text
		}
		_, form, ok := strings.Cut(text, `action="`)
		_, prompt, _ := strings.Cut(text, `name="prompt" value="`)
		prompt, _, _ = strings.Cut(prompt, `"`) // login, then consent
		if !ok || prompt == "" {
			return resp.StatusCode, resp.Request.URL, text
		}
		form, _, _ = strings.Cut(form, `"`)
		to, err2 := resp.Request.URL.Parse(html.UnescapeString(form))
		if err2 != nil {
			b.t.Fatal(err2)
		}
		resp, err = b.http.PostForm(to.String(), url.Values{"prompt": {prompt}, "login": {account}, "password": {"any"}})
	}
}
