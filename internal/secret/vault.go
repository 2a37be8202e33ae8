package secret

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// VaultConfig says where a Vault is and how to get in: with a token, a file that
// holds one (and may be replaced at any time), or as an AppRole.
type VaultConfig struct {
	Address      string // https://vault.example.com:8200
	Namespace    string
	CA           string // file with the certificates to trust; "" = the system's
	Cert, Key    string // files; a certificate to show
	Token        string
	TokenFile    string
	RoleID       string
	SecretIDFile string
}

// Vault looks up secrets of the KV engine, version 2 or 1, of HashiCorp Vault or
// what speaks as it does.
type Vault struct {
	cfg    VaultConfig
	client *http.Client

	mu      sync.Mutex // held while logging in
	token   string     // of the AppRole
	expires time.Time
}

var _ ci.SecretSource = (*Vault)(nil)

// NewVault reads the certificates. All that is wrong comes back at once.
func NewVault(c VaultConfig) (*Vault, error) {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("vault: "+format, args...)) }
	u, err := url.Parse(c.Address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		bad("the address is none: want https://HOST:PORT")
	}
	switch {
	case c.RoleID != "" && c.SecretIDFile == "":
		bad("a role goes together with a file that holds its secret ID")
	case c.RoleID == "" && c.Token == "" && c.TokenFile == "":
		bad("there is no way to get in: give a file with a token, VAULT_TOKEN, or a role and a file with its secret ID")
	case (c.Cert == "") != (c.Key == ""):
		bad("a certificate and its key go together")
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		tlsConfig.RootCAs = x509.NewCertPool()
		if err != nil {
			bad("certificates to trust: %w", err)
		} else if !tlsConfig.RootCAs.AppendCertsFromPEM(text) {
			bad("%s holds no certificate", c.CA)
		}
	}
	if c.Cert != "" && c.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			bad("certificate to show: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{pair}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(append(wrong, ci.ErrInvalid)...)
	}
	c.Address = strings.TrimSuffix(c.Address, "/")
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 10 * time.Second}
	return &Vault{cfg: c, client: &http.Client{Transport: transport, Timeout: 30 * time.Second, CheckRedirect: sameHost}}, nil
}

// sameHost keeps the token with the host that it is for.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) > 3 || req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return fmt.Errorf("it sends on to %s, which the token is not for: give that address", req.URL.Host)
	}
	return nil
}

// Lookup answers references of either kind that begin with VaultPrefix.
func (v *Vault) Lookup(ctx context.Context, _ ci.VariableKind, ref string) (string, error) {
	r, err := ParseVaultRef(ref)
	if err != nil {
		return "", err
	}
	value, err := v.read(ctx, r)
	if err != nil {
		return "", fmt.Errorf("secret %q of Vault: %w", ref, err)
	}
	return value, nil
}

func (v *Vault) read(ctx context.Context, r VaultRef) (string, error) {
	mount, version := v.mount(ctx, r.Path)
	below, found := strings.CutPrefix(r.Path, mount)
	if !found || below == "" {
		return "", fmt.Errorf("%q is a mount, and no secret in it: %w", mount, ci.ErrInvalid)
	}
	if version == "1" {
		if r.Version > 0 {
			return "", fmt.Errorf("the engine at %q keeps no versions: %w", mount, ci.ErrInvalid)
		}
		var out struct {
			Data json.RawMessage
		}
		if err := v.ask(ctx, http.MethodGet, mount+below, nil, &out); err != nil {
			return "", err
		}
		return pickVault(out.Data, r.Key)
	}
	var query url.Values
	if r.Version > 0 {
		query = url.Values{"version": {fmt.Sprint(r.Version)}}
	}
	var out struct {
		Data struct{ Data json.RawMessage }
	}
	if err := v.ask(ctx, http.MethodGet, mount+"data/"+below, query, &out); err != nil {
		return "", err
	}
	return pickVault(out.Data.Data, r.Key)
}

// pickVault is pick, of what Vault keeps in any case as an object.
func pickVault(data json.RawMessage, key string) (string, error) {
	if len(data) == 0 || string(data) == "null" {
		return "", fmt.Errorf("that version was deleted: %w", ci.ErrNotFound)
	}
	return pick(string(data), key)
}

// mount finds out where the engine of a path is mounted, which may be several
// parts deep, and of which version it is. Where Vault does not say, it is the first
// part and of version 2.
func (v *Vault) mount(ctx context.Context, path string) (mount, version string) {
	var out struct {
		Data struct {
			Path    string
			Options struct{ Version string }
		}
	}
	first, _, _ := strings.Cut(path, "/")
	mount, version = first+"/", "2"
	if err := v.ask(ctx, http.MethodGet, "sys/internal/ui/mounts/"+path, nil, &out); err != nil || !strings.HasSuffix(out.Data.Path, "/") || !strings.HasPrefix(path, out.Data.Path) {
		return mount, version
	}
	if out.Data.Options.Version != "2" {
		version = "1"
	}
	return out.Data.Path, version
}

// ask makes one request; with an AppRole whose token is no longer good, a second
// with a new one.
func (v *Vault) ask(ctx context.Context, method, path string, query url.Values, out any) error {
	for again := false; ; again = true {
		token, err := v.enter(ctx, again)
		if err != nil {
			return err
		}
		status, err := v.call(ctx, method, path, query, token, nil, out)
		if status != http.StatusForbidden || v.cfg.RoleID == "" || again {
			return err
		}
	}
}

// enter gives a token that is good, or anew says that the last one was not.
func (v *Vault) enter(ctx context.Context, anew bool) (string, error) {
	switch {
	case v.cfg.RoleID != "":
		return v.login(ctx, anew)
	case v.cfg.TokenFile != "":
		return oneLine(v.cfg.TokenFile)
	}
	return v.cfg.Token, nil
}

func oneLine(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, ci.ErrUnavailable)
	}
	line := strings.TrimSpace(string(text))
	if line == "" || strings.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("%s: want one line: %w", file, ci.ErrInvalid)
	}
	return line, nil
}

func (v *Vault) login(ctx context.Context, anew bool) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !anew && v.token != "" && time.Now().Before(v.expires) {
		return v.token, nil
	}
	id, err := oneLine(v.cfg.SecretIDFile)
	if err != nil {
		return "", err
	}
	var out struct {
		Auth struct {
			ClientToken   string `json:"client_token"`
			LeaseDuration int64  `json:"lease_duration"` // seconds
		}
	}
	_, err = v.call(ctx, http.MethodPost, "auth/approle/login", nil, "", map[string]string{"role_id": v.cfg.RoleID, "secret_id": id}, &out)
	if errors.Is(err, ci.ErrInvalid) { // how Vault says that role or secret ID are not good
		err = fmt.Errorf("log in as the role: %w: %w", err, ci.ErrDenied)
	}
	if err == nil && out.Auth.ClientToken == "" {
		err = fmt.Errorf("log in as the role: the answer holds no token: %w", ci.ErrUnavailable)
	}
	if err != nil {
		return "", err
	}
	// A fifth of its time is left for what is asked with it, and for clocks that differ.
	v.token, v.expires = out.Auth.ClientToken, time.Now().Add(time.Duration(out.Auth.LeaseDuration)*time.Second*4/5)
	return v.token, nil
}

// vaultTries is how often Vault is asked while it is busy or away.
const vaultTries = 4

func (v *Vault) call(ctx context.Context, method, path string, query url.Values, token string, in, out any) (status int, err error) {
	wait := 100 * time.Millisecond
	for try := 1; ; try++ {
		status, err = v.once(ctx, method, path, query, token, in, out)
		busy := status == 0 || status == http.StatusTooManyRequests || status >= 500
		if err == nil || !busy || try == vaultTries || ctx.Err() != nil {
			return status, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		wait *= 3
	}
}

// maxVaultAnswer is more than Vault keeps in one secret.
const maxVaultAnswer = 2 << 20

// once asks once; status 0 = there was no answer.
func (v *Vault) once(ctx context.Context, method, path string, query url.Values, token string, in, out any) (status int, err error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(text)
	}
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	at := v.cfg.Address + "/v1/" + strings.Join(segments, "/")
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Vault-Request", "true")
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if v.cfg.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", v.cfg.Namespace)
	}
	res, err := v.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask Vault: %w: %w", err, ci.ErrUnavailable)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxVaultAnswer))
	if err != nil {
		return 0, fmt.Errorf("ask Vault: %w: %w", err, ci.ErrUnavailable)
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, refusedByVault(res.StatusCode, answer)
	}
	if json.Unmarshal(answer, out) != nil {
		return res.StatusCode, fmt.Errorf("the answer makes no sense: is that a Vault? %w", ci.ErrUnavailable)
	}
	return res.StatusCode, nil
}

// refusedByVault says what a refusal means. Its texts hold nothing of values.
func refusedByVault(status int, answer []byte) error {
	var e struct{ Errors []string }
	_ = json.Unmarshal(answer, &e) // not every proxy on the way answers in JSON
	text := strings.Join(strings.Fields(strings.Join(e.Errors, "; ")), " ")
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("it is not there, or that version was deleted: %w", ci.ErrNotFound)
	case status == http.StatusForbidden:
		return fmt.Errorf("Vault denies it (%s); check the token's or the role's policies: %w", text, ci.ErrDenied)
	case status == http.StatusBadRequest:
		return fmt.Errorf("Vault refuses the request (%s): %w", text, ci.ErrInvalid)
	case status == http.StatusTooManyRequests || status >= 500:
		return fmt.Errorf("Vault answers %d (%s): %w", status, text, ci.ErrUnavailable)
	}
	return fmt.Errorf("Vault answers %d (%s): %w", status, text, ci.ErrUnavailable)
}
