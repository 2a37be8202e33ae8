package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/sluice-ci/sluice/internal/ci"
)

// userConfig is the part of Docker's config.json that has credentials.
type userConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	} `json:"auths"`
	Helpers map[string]string `json:"credHelpers"`
	Store   string            `json:"credsStore"`
}

// dockerHub is how config.json and its helpers know docker.io.
const dockerHub = "https://index.docker.io/v1/"

// credentials are what the engine sends to a registry, in its header's form: the
// job's own ("registry:<host>" = "user:password"), else the user's. "" = none.
func (e *Executor) credentials(ctx context.Context, host string, secrets map[string]string) (string, error) {
	server := host
	if host == "docker.io" {
		server = dockerHub
	}
	if s, ok := secrets["registry:"+host]; ok {
		user, password, ok := strings.Cut(s, ":")
		if !ok {
			return "", fmt.Errorf("the credentials for the registry %s are not of the form USER:PASSWORD: %w", host, ci.ErrInvalid)
		}
		return encodeAuth(registry.AuthConfig{Username: user, Password: password, ServerAddress: server})
	}
	c, err := e.readUserConfig()
	if err != nil {
		return "", err
	}
	if helper := c.helper(host, server); helper != "" && e.cfg.Helper != nil {
		auth, err := e.askHelper(ctx, helper, server)
		if err != nil || auth != "" {
			return auth, err
		}
	}
	for name, a := range c.Auths {
		if registryHost(name) != host {
			continue
		}
		auth := registry.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken, ServerAddress: server}
		if a.Auth != "" {
			raw, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
			if err != nil || !ok {
				return "", fmt.Errorf("auths[%q].auth in %s is not base64 of USER:PASSWORD; log in again with 'docker login %s': %w", name, e.userConfigPath(), host, ci.ErrInvalid)
			}
			auth.Username, auth.Password = user, password
		}
		if auth.Username != "" || auth.IdentityToken != "" || auth.RegistryToken != "" {
			return encodeAuth(auth)
		}
	}
	return "", nil
}

func (c *userConfig) helper(host, server string) string {
	for _, name := range []string{host, server} {
		if h := c.Helpers[name]; h != "" {
			return h
		}
	}
	return c.Store
}

// registryHost strips what config.json has around a registry's name.
func registryHost(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	name, _, _ = strings.Cut(name, "/")
	if name == "index.docker.io" || name == "registry-1.docker.io" {
		return "docker.io"
	}
	return name
}

// askHelper speaks the protocol of docker-credential-NAME get.
func (e *Executor) askHelper(ctx context.Context, helper, server string) (string, error) {
	out, err := e.cfg.Helper(ctx, helper, "get", server)
	if err != nil {
		if strings.Contains(err.Error()+string(out), "credentials not found") {
			return "", nil
		}
		return "", fmt.Errorf("ask the credential helper docker-credential-%s for %s: %w: %w", helper, server, err, ci.ErrUnavailable)
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", fmt.Errorf("the credential helper docker-credential-%s printed no JSON for %s: %w", helper, server, ci.ErrInvalid)
	}
	if got.Username == "<token>" {
		return encodeAuth(registry.AuthConfig{IdentityToken: got.Secret, ServerAddress: server})
	}
	return encodeAuth(registry.AuthConfig{Username: got.Username, Password: got.Secret, ServerAddress: server})
}

func (e *Executor) userConfigPath() string {
	dir := e.cfg.User
	if dir == "" {
		dir = os.Getenv("DOCKER_CONFIG")
	}
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json")
}

func (e *Executor) readUserConfig() (*userConfig, error) {
	path := e.userConfigPath()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return &userConfig{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	var c userConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("registry credentials: %s: %w: %w", path, err, ci.ErrInvalid)
	}
	return &c, nil
}

func encodeAuth(a registry.AuthConfig) (string, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("registry credentials: %w", err)
	}
	return base64.URLEncoding.EncodeToString(data), nil
}
