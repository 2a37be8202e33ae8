package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// writeCertificate makes a certificate that signs itself, for a name and for the
// loopback address.
func writeCertificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{{127, 0, 0, 1}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	var said strings.Builder
	f := &certificateFiles{log: slog.New(slog.NewTextHandler(&said, nil)), now: func() time.Time { return now }}
	f.cert, f.key = writeCertificate(t, dir, "one.example")
	name := func() string {
		t.Helper()
		c, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	if got := name(); got != "one.example" {
		t.Errorf("got %s", got)
	}
	writeCertificate(t, dir, "two.example")
	if got := name(); got != "one.example" {
		t.Errorf("before a second has passed: %s", got)
	}
	now = now.Add(2 * time.Second)
	if got := name(); got != "two.example" || !strings.Contains(said.String(), "was replaced") {
		t.Errorf("after a second: %s; said %s", got, said.String())
	}
	other, _ := writeCertificate(t, t.TempDir(), "three.example")
	text, err := os.ReadFile(other)
	if err == nil {
		err = os.WriteFile(f.cert, text, 0o600) // and no key yet
	}
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	if got := name(); got != "two.example" || !strings.Contains(said.String(), "the old one serves on") {
		t.Errorf("with half of a new one: %s; said %s", got, said.String())
	}
	if _, err := (&certificateFiles{cert: "/none", now: time.Now}).get(nil); err == nil || !strings.Contains(err.Error(), "tls-cert") {
		t.Errorf("without files: %v", err)
	}
}

// TestServeHTTPS: the server speaks HTTPS, and plain HTTP leads there and nowhere else.
func TestServeHTTPS(t *testing.T) {
	t.Parallel()
	cert, key := writeCertificate(t, t.TempDir(), "ci.example")
	s := serverIn(t, filepath.Join(t.TempDir(), "data"), "--tls-cert", cert, "--tls-key", key, "--redirect", "127.0.0.1:0")
	if !strings.HasPrefix(s.url, "https://") {
		t.Fatalf("the server says that it is at %s", s.url)
	}
	pool := x509.NewCertPool()
	text, err := os.ReadFile(cert)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	web := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ask := func(method, url, host string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			r.Host = host
		}
		answer, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer
	}
	if got := ask("GET", s.url+"/healthz", "").StatusCode; got != http.StatusOK {
		t.Errorf("over HTTPS: %d", got)
	}
	m := regexp.MustCompile(`way to HTTPS" address=(\S+)`).FindStringSubmatch(s.said())
	if m == nil {
		t.Fatalf("no address is said:\n%s", s.said())
	}
	for path, want := range map[string]string{"/api/v1/projects?x=1": "/api/v1/projects?x=1", "//evil.example/x": "//evil.example/x", "/a%2Fb": "/a/b"} {
		got := ask("GET", "http://"+m[1]+path, "evil.example")
		if to := got.Header.Get("Location"); got.StatusCode != http.StatusPermanentRedirect || !strings.HasPrefix(to, s.url+"/") || to != s.url+want && to != s.url+"/"+strings.TrimLeft(want, "/") {
			t.Errorf("%s leads to %q with %d, want %s", path, to, got.StatusCode, s.url+want)
		}
	}
	if got := ask("POST", "http://"+m[1]+"/api/v1/projects", "").StatusCode; got != http.StatusForbidden {
		t.Errorf("a POST over plain HTTP: %d, want 403", got)
	}
}

// TestServeGetsCertificates has Pebble, an ACME server, issue a certificate.
func TestServeGetsCertificates(t *testing.T) {
	for _, program := range []string{"pebble", "pebble-challtestsrv"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (go install github.com/letsencrypt/pebble/v2/cmd/%s@v2.10.1)", program, program)
		}
	}
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "pebble.example")
	listen, plain, acme, manage, dns := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	port := func(address string) int {
		var n int
		_, p, _ := net.SplitHostPort(address)
		_, _ = fmt.Sscan(p, &n)
		return n
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": acme, "managementListenAddress": manage, "certificate": cert, "privateKey": key,
		"httpPort": port(plain), "tlsPort": port(listen), "ocspResponderURL": "", "externalAccountBindingRequired": false,
	}})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "pebble.json"), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	background(t, manage, "pebble", "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", dns)
	background(t, "", "pebble-challtestsrv", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1", "-dnsserver", dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", freeAddress(t))
	t.Setenv("SSL_CERT_FILE", cert) // the server trusts Pebble
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data, "--listen", listen, "--redirect", plain, "--acme", "ci.example.test, other.example.test", "--acme-directory", "https://"+acme+"/dir", "--acme-email", "ops@example.test")
	shake := func(name string) (string, error) {
		c, err := tls.Dial("tcp", listen, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // it is looked at below
		if err != nil {
			return "", err
		}
		defer c.Close()
		leaf := c.ConnectionState().PeerCertificates[0]
		return leaf.Issuer.CommonName, leaf.VerifyHostname(name)
	}
	issuer, err := shake("ci.example.test")
	if err != nil || !strings.Contains(issuer, "Pebble") {
		t.Fatalf("issued by %q, %v; the server said:\n%s", issuer, err, s.said())
	}
	if _, err := shake("evil.example.test"); err == nil {
		t.Error("there is a certificate for a name that is not the server's")
	}
	kept, err := os.ReadDir(filepath.Join(data, "acme"))
	if err != nil || len(kept) < 2 {
		t.Errorf("the certificate and the account are not kept: %v, %v", kept, err)
	}
	for _, e := range kept {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// background runs a program until the test ends, and waits until it listens.
func background(t *testing.T, address, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	log, err := os.Create(filepath.Join(t.TempDir(), program))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	_ = log.Close()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s said:\n%s", program, text)
		}
	})
	for address != "" {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v", program, err)
		default:
		}
	}
}

// TestServeDrains: asked to stop, the server lets the job end that runs, and begins
// no other; the next start does.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	gate := filepath.Join(t.TempDir(), "gate")
	s := serverIn(t, data, "--drain", "5m")
	s.project("app", "['echo begun', 'until [ -e "+gate+" ]; do sleep 0.02; done', 'echo ended']")
	s.must("build", "start", "app")
	for !strings.Contains(s.must("logs", "app/1"), "begun") {
	}
	stopped := make(chan struct{})
	go func() {
		s.stop()
		close(stopped)
	}()
	for !strings.Contains(s.said(), "draining") {
	}
	s.must("build", "start", "app") // is taken, and waits
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-stopped
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the server ended with %d:\n%s", code, s.said())
	}
	again := serverIn(t, data)
	if !strings.Contains(again.said(), "not done\" builds=1") {
		t.Errorf("the next start says\n%s\nwant one build taken up", again.said())
	}
	if b := again.ended("app", 1); b.Status != "succeeded" || again.must("logs", "app/1") != "begun\nended\n" {
		t.Errorf("the build that ran %s", b.Status)
	}
	if b := again.ended("app", 2); b.Status != "succeeded" {
		t.Errorf("the build that waited %s", b.Status)
	}
}
