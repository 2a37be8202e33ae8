package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Addresses that test/engines/podman.sh lets Podman speak plain HTTP with. Docker
// speaks it with any loopback address.
const (
	podmanOpen    = "127.0.0.1:5598"
	podmanPrivate = "127.0.0.1:5599"
)

// testRegistry is a registry on loopback, open or with a password.
type testRegistry struct {
	host string
	srv  *httptest.Server
}

func newRegistry(t *testing.T, c engineCase, private bool) *testRegistry {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if private && (user != "ann" || password != "s3cret:x") {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
			return
		}
		inner.ServeHTTP(w, r)
	}))
	if c.name == "podman" {
		addr := podmanOpen
		if private {
			addr = podmanPrivate
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = srv.Listener.Close()
		srv.Listener = l
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return &testRegistry{host: strings.TrimPrefix(srv.URL, "http://"), srv: srv}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// push stores an image of one layer and gives its digest.
func (r *testRegistry) push(t *testing.T, repo, tag, arch string, layer []byte) string {
	t.Helper()
	do := func(method, path, kind string, body []byte) {
		req, err := http.NewRequestWithContext(t.Context(), method, r.srv.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("ann", "s3cret:x")
		req.Header.Set("Content-Type", kind)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s", method, path, res.Status)
		}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "created": "2026-01-02T03:04:05Z",
		"config": map[string]any{"Env": []string{"PATH=/bin", "REGISTRY=yes"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	descriptor := func(kind string, b []byte) map[string]any {
		return map[string]any{"mediaType": kind, "size": len(b), "digest": digest(b)}
	}
	const prefix = "application/vnd.docker."
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": prefix + "distribution.manifest.v2+json",
		"config": descriptor(prefix+"container.image.v1+json", config),
		"layers": []any{descriptor(prefix+"image.rootfs.diff.tar", layer)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{config, layer} {
		do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+digest(b), "application/octet-stream", b)
	}
	do(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, prefix+"distribution.manifest.v2+json", manifest)
	return digest(manifest)
}

func smallLayer(t *testing.T) []byte {
	t.Helper()
	path, err := lookBusybox()
	if err != nil {
		t.Skip(err)
	}
	exe, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return busyboxTar(t, exe)
}

func TestPull(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		if c.files == Copy {
			return // the engine pulls all the same
		}
		reg, priv := newRegistry(t, c, false), newRegistry(t, c, true)
		layer := smallLayer(t)
		unique := strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
		open, private := reg.host+"/team/"+unique, priv.host+"/team/"+unique
		want := reg.push(t, "team/"+unique, "v1", runtime.GOARCH, layer)
		priv.push(t, "team/"+unique, "v1", runtime.GOARCH, layer)
		reg.push(t, "team/"+unique, "other", "s390x", layer)
		login := t.TempDir()
		auth := base64.StdEncoding.EncodeToString([]byte("ann:s3cret:x"))
		if err := os.WriteFile(filepath.Join(login, "config.json"), fmt.Appendf(nil, `{"auths":{"http://%s/v2/":{"auth":"%s"}}}`, priv.host, auth), 0o600); err != nil {
			t.Fatal(err)
		}
		bare := c.executor(t, nil)
		loggedIn := c.executor(t, func(c *Config) { c.User = login })
		helped := c.executor(t, func(cfg *Config) {
			if err := os.WriteFile(filepath.Join(cfg.User, "config.json"), fmt.Appendf(nil, `{"credHelpers":{"%s":"test"}}`, priv.host), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.Helper = func(_ context.Context, name, verb, input string) ([]byte, error) {
				if name != "test" || verb != "get" || input != priv.host {
					t.Errorf("helper %s %s %q", name, verb, input)
				}
				return []byte(`{"Username":"ann","Secret":"s3cret:x"}`), nil
			}
		})
		for i, tc := range []struct {
			name    string
			e       *Executor
			image   string
			secrets map[string]string
			err     error
			says    string
		}{
			{"by tag", bare, open + ":v1", nil, nil, ""},
			{"by digest", bare, open + "@" + want, nil, nil, ""},
			{"no such tag", bare, open + ":v9", nil, ci.ErrNotFound, "check name, tag or digest"},
			{"no such repository", bare, reg.host + "/team/nothing:v1", nil, ci.ErrNotFound, "check name, tag or digest"},
			{"no such digest", bare, open + "@" + digest([]byte("x")), nil, ci.ErrNotFound, "check name, tag or digest"},
			{"private without credentials", bare, private + ":v1", nil, ci.ErrDenied, "--secret registry:" + priv.host},
			{"private with wrong ones", bare, private + ":v1", map[string]string{"registry:" + priv.host: "ann:no"}, ci.ErrDenied, "refuses the credentials"},
			{"private with a secret", bare, private + ":v1", map[string]string{"registry:" + priv.host: "ann:s3cret:x"}, nil, ""},
			{"private with config.json", loggedIn, private + ":v1", nil, nil, ""},
			{"private with a helper", helped, private + ":v1", nil, nil, ""},
			{"other architecture", bare, open + ":other", nil, ci.ErrInvalid, "s390x"},
			{"no such registry", bare, "127.0.0.1:1/x:v1", nil, ci.ErrUnavailable, "cannot be asked"},
			{"not a name", bare, "Not A Name", nil, ci.ErrInvalid, "not an image's name"},
			{"no name", bare, "", nil, ci.ErrInvalid, "--image"},
			{"an ID that is not there", bare, digest([]byte("y")), nil, ci.ErrNotFound, "does not have it"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				if tc.err == nil {
					removeImages(t, tc.e, tc.image) // an earlier run's
				}
				var said bytes.Buffer
				s, err := tc.e.Open(t.Context(), ci.Placement{Job: ci.JobID(fmt.Sprintf("pull/%d", i)), Runtime: ci.Runtime{Image: tc.image}, Secrets: tc.secrets, Log: &said})
				if strings.Contains(said.String(), "s3cret") {
					t.Errorf("the log has the password: %s", &said)
				}
				if tc.err == nil {
					if err != nil {
						t.Fatal(err)
					}
					defer removeImages(t, tc.e, tc.image)
					defer removed(t, s)
					if !strings.Contains(said.String(), "Pulling "+tc.image) {
						t.Errorf("log %q does not say what is pulled", &said)
					}
					if got := s.Placed().Digest; got != want {
						t.Errorf("digest %s, want %s", got, want)
					}
					if text, _ := output(t, s, ci.Command{ID: "pull/x/BUILD/0", Script: "echo $REGISTRY"}); text != "yes\n" {
						t.Errorf("in the image: %q", text)
					}
					if err := s.Close(t.Context()); err != nil {
						t.Error(err)
					}
					return
				}
				var ie *ImageError
				if !errors.As(err, &ie) || ie.Code() != ci.CodePullImage || !errors.Is(err, tc.err) {
					t.Fatalf("error %v, want an ImageError that is %v", err, tc.err)
				}
				if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("error %v, want %q in it", err, tc.says)
				}
			})
		}
	})
}
