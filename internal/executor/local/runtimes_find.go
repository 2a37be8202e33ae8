package local

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

func (f finder) golang(context.Context) []found {
	var out []found
	roots := f.glob("~/.goenv/versions/*", "~/sdk/go*", "/usr/lib/go-*", "/usr/local/go", "/opt/go*", "~/.local/share/mise/installs/go/*", "~/.asdf/installs/golang/*/go")
	if p := f.program("go"); p != "" {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			roots = append([]string{filepath.Dir(filepath.Dir(real))}, roots...)
		}
	}
	for _, root := range roots {
		data, err := os.ReadFile(filepath.Join(root, "VERSION"))
		version, ok := strings.CutPrefix(strings.SplitN(string(data), "\n", 2)[0], "go")
		if err != nil || !ok {
			continue
		}
		out = append(out, found{"golang", named(strings.TrimSpace(version), false), []string{set("GOROOT", root), onPath(root + "/bin")}})
	}
	return out
}

func (f finder) python(context.Context) []found {
	var out []found
	for _, root := range f.glob("~/.pyenv/versions/[0-9]*", "~/.local/share/mise/installs/python/[0-9]*", "~/.asdf/installs/python/[0-9]*") {
		version := filepath.Base(root)
		if versionIn(version) != version {
			continue
		}
		commands := []string{onPath(root + "/bin")}
		if strings.Contains(root, "/.pyenv/") {
			commands = append(commands, set("PYENV_VERSION", version))
		}
		out = append(out, found{"python", named(version, false), commands})
	}
	for _, bin := range f.glob("/usr/bin/python3.*", "/usr/local/bin/python3.*") {
		version := strings.TrimPrefix(filepath.Base(bin), "python")
		if versionIn(version) != version {
			continue
		}
		// The distribution's python has no plain "python", and one of a version
		// manager goes before it: that one is made for installing packages.
		links := []link{{"python", bin}, {"python3", bin}, {filepath.Base(bin), bin}}
		if dir := filepath.Dir(bin); resolved(dir+"/python3") == bin { // pip3 is the default python's
			links = append(links, link{"pip", dir + "/pip3"}, link{"pip3", dir + "/pip3"})
		}
		out = append(out, found{"python", []string{"", version}, chosen("python", version, links)})
	}
	return out
}

// resolved is what a link stands for in the end.
func resolved(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return real
}

func (f finder) nodejs(ctx context.Context) []found {
	var out []found
	for _, root := range f.glob("~/.nvm/versions/node/v*", "~/.nodenv/versions/[0-9]*", "~/.local/share/fnm/node-versions/v*/installation",
		"~/.local/share/mise/installs/node/[0-9]*", "~/.asdf/installs/nodejs/[0-9]*", "/usr/local/n/versions/node/[0-9]*") {
		version := versionIn(strings.TrimSuffix(root, "/installation")[strings.LastIndex(strings.TrimSuffix(root, "/installation"), "/"):])
		if version != "" {
			out = append(out, found{"nodejs", named(version, true), []string{onPath(root + "/bin")}})
		}
	}
	if p := f.program("node"); p != "" {
		if version := f.ask(ctx, p, "--version"); version != "" {
			out = append(out, found{"nodejs", named(version, true), beside("nodejs", version, p, "npm", "npx", "corepack", "yarn", "pnpm")})
		}
	}
	return out
}

func (f finder) java(context.Context) []found {
	homes := f.glob("/usr/lib/jvm/*", "~/.sdkman/candidates/java/[0-9]*", "/opt/java/*", "/opt/jdk*", "~/.local/share/mise/installs/java/*")
	if h := f.host.env["JAVA_HOME"]; h != "" && f.shows(h) {
		homes = append([]string{h}, homes...)
	}
	var out []found
	seen := map[string]bool{}
	for _, home := range homes {
		real, err := filepath.EvalSymlinks(home)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		data, err := os.ReadFile(filepath.Join(home, "release"))
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(home, "bin/javac")); err != nil {
			continue // a runtime alone cannot build
		}
		values := releaseValues(string(data))
		version, vendor := values["JAVA_VERSION"], "openjdk"
		if strings.Contains(values["IMPLEMENTOR"], "Amazon") {
			vendor = "corretto"
		}
		major := strings.SplitN(strings.TrimPrefix(version, "1."), ".", 2)[0]
		if major == "" {
			continue
		}
		out = append(out, found{"java", []string{vendor + major, major}, []string{
			set("JAVA_HOME", real), set("JDK_HOME", real), onPath(real + "/bin"),
		}})
	}
	return out
}

// releaseValues reads the NAME="value" lines of a JDK's release file.
func releaseValues(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = strings.Trim(value, `"`)
		}
	}
	return out
}

func (f finder) ruby(ctx context.Context) []found {
	var out []found
	for _, root := range f.glob("~/.rbenv/versions/[0-9]*", "~/.local/share/mise/installs/ruby/[0-9]*", "~/.asdf/installs/ruby/[0-9]*", "/opt/ruby-[0-9]*") {
		version := versionIn(filepath.Base(root))
		if version == "" {
			continue
		}
		commands := []string{onPath(root + "/bin")}
		if strings.Contains(root, "/.rbenv/") {
			commands = append(commands, set("RBENV_VERSION", version))
		}
		out = append(out, found{"ruby", named(version, false), commands})
	}
	if p := f.program("ruby"); p != "" {
		if version := f.ask(ctx, p, "--version"); version != "" {
			out = append(out, found{"ruby", named(version, false), beside("ruby", version, p, "gem", "bundle", "bundler", "rake", "irb", "erb")})
		}
	}
	return out
}

func (f finder) php(ctx context.Context) []found {
	var out []found
	for _, root := range f.glob("~/.phpenv/versions/[0-9]*") {
		if version := versionIn(filepath.Base(root)); version != "" {
			out = append(out, found{"php", named(version, false), []string{onPath(root + "/bin"), set("PHPENV_VERSION", version)}})
		}
	}
	if p := f.program("php"); p != "" {
		if version := f.ask(ctx, p, "--version"); version != "" {
			out = append(out, found{"php", named(version, false), beside("php", version, p, "composer", "phpize", "php-config", "pear", "pecl")})
		}
	}
	return out
}

func (f finder) rust(ctx context.Context) []found {
	var out []found
	for _, root := range f.glob("~/.rustup/toolchains/*") {
		toolchain := filepath.Base(root)
		name, _, _ := strings.Cut(toolchain, "-")
		versions := []string{name}
		if versionIn(name) == name {
			versions = named(name, false)
		}
		out = append(out, found{"rust", versions, []string{set("RUSTUP_TOOLCHAIN", toolchain), onPath(root + "/bin")}})
	}
	if p := f.program("rustc"); p != "" && len(out) == 0 {
		if version := f.ask(ctx, p, "--version"); version != "" {
			out = append(out, found{"rust", named(version, false), beside("rust", version, p, "cargo", "rustdoc", "rustfmt", "cargo-fmt", "cargo-clippy", "clippy-driver")})
		}
	}
	return out
}

func (f finder) dotnet(context.Context) []found {
	var out []found
	patterns := []string{"/usr/share/dotnet/sdk/[0-9]*", "/usr/lib/dotnet/sdk/[0-9]*", "/usr/local/dotnet/sdk/[0-9]*", "/opt/dotnet/sdk/[0-9]*"}
	if r := f.host.env["DOTNET_ROOT"]; r != "" {
		patterns = append([]string{r + "/sdk/[0-9]*"}, patterns...)
	}
	for _, sdk := range f.glob(patterns...) {
		root := filepath.Dir(filepath.Dir(sdk))
		if version := versionIn(filepath.Base(sdk)); version != "" {
			out = append(out, found{"dotnet", named(version, false), []string{set("DOTNET_ROOT", root), onPath(root)}})
		}
	}
	return out
}

func (f finder) docker(ctx context.Context) []found {
	p := f.program("docker")
	if p == "" {
		return nil
	}
	version := f.ask(ctx, p, "--version")
	if version == "" {
		return nil
	}
	return []found{{"docker", named(version, true), beside("docker", version, p)}}
}
