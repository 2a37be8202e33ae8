package local

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// passed are the variables of the host that every command sees, besides PATH.
// They say where packages come from and whom to trust; nothing here is a
// credential, and what looks like one is left out whatever its name (see secretive).
var passed = []string{
	// Language and time.
	"LANG", "LANGUAGE", "TZ",
	// Proxies, in both spellings.
	"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY",
	// Certificates.
	"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
	"PIP_CERT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "AWS_CA_BUNDLE", "NIX_SSL_CERT_FILE", "CARGO_HTTP_CAINFO",
	"HTTPLIB2_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
	"NPM_CONFIG_CAFILE", "npm_config_cafile", "BUNDLE_SSL_CA_CERT", "DENO_CERT",
	// Registries and mirrors.
	"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOFLAGS", "GOTOOLCHAIN", "GOROOT",
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
	"PIP_DISABLE_PIP_VERSION_CHECK", "UV_INDEX_URL", "UV_DEFAULT_INDEX",
	"NPM_CONFIG_REGISTRY", "npm_config_registry", "YARN_REGISTRY", "YARN_NPM_REGISTRY_SERVER",
	"RUBYGEMS_HOST", "BUNDLE_MIRROR__ALL", "RUSTUP_DIST_SERVER", "RUSTUP_UPDATE_ROOT", "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
	"NUGET_PACKAGES_SOURCE", "COMPOSER_REPO_PACKAGIST",
	// Toolchains. The folders they name are shown to the build (see toolchain).
	"RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUSTUP_AUTO_INSTALL", "PYENV_ROOT", "PYENV_VERSION", "RBENV_ROOT", "RBENV_VERSION", "NODENV_ROOT", "GOENV_ROOT",
	"PHPENV_ROOT", "NVM_DIR", "VOLTA_HOME", "SDKMAN_DIR", "ASDF_DIR", "ASDF_DATA_DIR", "FNM_DIR", "MISE_DATA_DIR",
	"JAVA_HOME", "M2_HOME", "MAVEN_HOME", "GRADLE_HOME", "DOTNET_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT", "BUN_INSTALL",
	"DEBIAN_FRONTEND",
}

// secretive says whether a value carries a password: a URL with one, as proxies
// and registries sometimes have. The user passes such a value himself, as a secret.
func secretive(value string) bool {
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' || r == '|' }) {
		if !strings.Contains(part, "@") {
			continue
		}
		if u, err := url.Parse(strings.TrimPrefix(part, "sparse+")); err == nil && u.User != nil {
			return true
		}
	}
	return false
}

// host is what the executor knows of the machine that it stands on.
type host struct {
	env  map[string]string
	home string // HOME of who runs this
}

func newHost(environ []string) *host {
	h := &host{env: map[string]string{}}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			h.env[name] = value
		}
	}
	h.home = h.env["HOME"]
	if h.home == "" || !filepath.IsAbs(h.home) {
		h.home = "/root"
	}
	return h
}

// path is the host's PATH, absolute and without doubles.
func (h *host) path() []string {
	list := h.env["PATH"]
	if list == "" {
		list = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	var out []string
	for _, p := range filepath.SplitList(list) {
		if filepath.IsAbs(p) && !slices.Contains(out, filepath.Clean(p)) {
			out = append(out, filepath.Clean(p))
		}
	}
	return out
}

// passEnv is the host's part of the environment, without PATH.
func (h *host) passEnv() []string {
	var out []string
	for _, name := range passed {
		if v, ok := h.env[name]; ok && !secretive(v) {
			out = append(out, name+"="+v)
		}
	}
	for name, v := range h.env {
		if strings.HasPrefix(name, "LC_") {
			out = append(out, name+"="+v)
		}
	}
	for name, v := range h.goEnv() {
		if _, set := h.env[name]; !set {
			out = append(out, name+"="+v)
		}
	}
	slices.Sort(out)
	return out
}

// goEnv reads what `go env -w` wrote in a home that the build does not see.
func (h *host) goEnv() map[string]string {
	data, err := os.ReadFile(filepath.Join(h.home, ".config/go/env"))
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.HasPrefix(name, "GO") && name != "GOROOT" && slices.Contains(passed, name) && !secretive(value) {
			out[name] = value
		}
	}
	return out
}
