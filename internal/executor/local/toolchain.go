package local

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// keptInHome are the folders of a home that hold toolchains: programs and
// libraries, never settings or credentials. ~/.cargo, for one, holds tokens, so
// only its programs are shown.
var keptInHome = []string{
	".pyenv", ".rbenv", ".nodenv", ".goenv", ".phpenv", ".jenv", ".nvm", ".rustup", ".cargo/bin", ".volta", ".bun",
	".deno/bin", ".fnm", ".ghcup", ".opam", ".sdkman/candidates", ".asdf", ".jbang/bin", ".nix-profile",
	".local/bin", ".local/pipx", ".local/share/pipx", ".local/share/mise/installs", ".local/share/mise/shims", ".local/share/fnm",
	".local/share/uv/python", ".local/share/uv/tools", "go/bin", "sdk",
}

// homeVariables name a folder of keptInHome that its tools look for below HOME,
// which in a sandbox is not the host's.
var homeVariables = map[string]string{
	".pyenv": "PYENV_ROOT", ".rbenv": "RBENV_ROOT", ".nodenv": "NODENV_ROOT", ".goenv": "GOENV_ROOT", ".phpenv": "PHPENV_ROOT",
	".nvm": "NVM_DIR", ".rustup": "RUSTUP_HOME", ".volta": "VOLTA_HOME", ".asdf": "ASDF_DATA_DIR",
}

// toolVariables may name toolchain folders anywhere.
var toolVariables = []string{
	"GOROOT", "RUSTUP_HOME", "PYENV_ROOT", "RBENV_ROOT", "NODENV_ROOT", "GOENV_ROOT", "PHPENV_ROOT", "NVM_DIR", "VOLTA_HOME",
	"SDKMAN_DIR", "ASDF_DIR", "ASDF_DATA_DIR", "FNM_DIR", "MISE_DATA_DIR", "JAVA_HOME", "M2_HOME", "MAVEN_HOME", "GRADLE_HOME",
	"DOTNET_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT", "BUN_INSTALL", "PIP_FIND_LINKS",
}

// shown are the host's top folders that a sandbox shows (through overlays). All
// others hold what is somebody's own.
var shown = []string{"usr", "etc", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"}

// keptInVar are the folders of /var that installed software and package managers need.
var keptInVar = []string{
	"lib/dpkg", "lib/rpm", "lib/dnf", "lib/pacman", "lib/apk", "lib/gems", "lib/alternatives", "lib/ghc", "lib/texmf",
}

// toolchains lists the folders outside of what a sandbox shows anyway, in which
// the host's programs live, without those below another of the list.
func (h *host) toolchains() []string {
	var out []string
	add := func(p string) {
		p = filepath.Clean(p)
		if !filepath.IsAbs(p) || visible(p) || h.private(p) {
			return
		}
		if fi, err := os.Stat(p); err == nil && fi.IsDir() {
			out = append(out, p)
		}
	}
	for _, d := range keptInHome {
		add(filepath.Join(h.home, d))
	}
	for _, name := range toolVariables {
		if v := h.env[name]; v != "" {
			add(v)
		}
	}
	for _, p := range h.path() {
		add(p)
	}
	add("/home/linuxbrew/.linuxbrew")
	slices.Sort(out)
	kept := out[:0]
	for _, p := range out {
		if len(kept) == 0 || !within(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// private says that a folder cannot be shown whole, whatever names it: a home,
// or one above a home, or a place for sockets and other people's files.
func (h *host) private(p string) bool {
	if within(h.home, p) || within("/root", p) || within("/home", p) || filepath.Dir(p) == "/home" {
		return true
	}
	for _, d := range []string{"/proc", "/sys", "/dev", "/run", "/var/run", "/boot"} {
		if within(p, d) {
			return true
		}
	}
	for _, d := range []string{".ssh", ".aws", ".gnupg", ".docker", ".kube", ".config", ".azure", ".cargo", ".m2", ".gradle", ".local", ".local/share"} {
		if p == filepath.Join(h.home, d) {
			return true
		}
	}
	return false
}

// within says whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// visible says whether a sandbox shows the folder anyway.
func visible(p string) bool {
	top, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return slices.Contains(shown, top)
}

// toolEnv sets the variables without which the toolchains are not found once
// HOME is another.
func (h *host) toolEnv() []string {
	var out []string
	for _, d := range keptInHome {
		name := homeVariables[d]
		if name == "" || h.env[name] != "" {
			continue
		}
		p := filepath.Join(h.home, d)
		if _, err := os.Stat(p); err == nil {
			out = append(out, name+"="+p)
		}
	}
	return out
}
