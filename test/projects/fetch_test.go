package projects_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// cacheDir is where fetched archives stay from one run to the next.
func cacheDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("SLUICE_TEST_CACHE"); dir != "" {
		return filepath.Join(dir, "sources")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(home, ".cache", "sluice-test", "sources")
}

// archives fetches each project once for all executors.
var archives sync.Map // project.dir -> func() (string, error)

// source unpacks a fresh copy of the project into a folder of its own, with its
// buildspec, and gives the folder.
func (p *project) source(t *testing.T) string {
	t.Helper()
	cache := cacheDir(t)
	once, _ := archives.LoadOrStore(p.dir, sync.OnceValues(func() (string, error) {
		return p.archive(context.WithoutCancel(t.Context()), cache)
	}))
	archive, err := once.(func() (string, error))()
	if err != nil {
		t.Fatalf("fetch %s %s: %v", p.Name, p.Version, err)
	}
	root := t.TempDir()
	if strings.HasSuffix(archive, ".zip") {
		run(t, root, "unzip", "-q", archive)
	} else {
		run(t, root, "tar", "--no-same-owner", "-xf", archive)
	}
	dir := innermost(t, root)
	if manifest := filepath.Join(dir, "Cargo.toml.orig"); p.Registry == "crates" {
		// What the project's repository has; Cargo.toml is what publishing made of it.
		if err := os.Rename(manifest, filepath.Join(dir, "Cargo.toml")); err != nil {
			t.Fatal(err)
		}
	}
	spec, err := os.ReadFile(filepath.Join(p.dir, "buildspec.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "buildspec.yml"), spec, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// innermost goes down the folders that hold nothing but one folder, as archives begin.
func innermost(t *testing.T, dir string) string {
	t.Helper()
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 || !entries[0].IsDir() {
			return dir
		}
		dir = filepath.Join(dir, entries[0].Name())
	}
}

// archive gives the path of the project's archive, out of the cache or freshly
// fetched, and only when its bytes are those that project.json names.
func (p *project) archive(ctx context.Context, cache string) (string, error) {
	name := strings.NewReplacer("/", "_", ":", "_").Replace(p.Name) + "-" + p.Version + p.extension()
	kept := filepath.Join(cache, p.Registry, name)
	if sum, err := sumOf(kept); err == nil && sum == p.SHA256 {
		return kept, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(kept), "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	got, err := p.fetch(ctx, work)
	if err != nil {
		return "", err
	}
	sum, err := sumOf(got)
	if err != nil {
		return "", err
	}
	if sum != p.SHA256 {
		return "", fmt.Errorf("%s has SHA-256 %s, but project.json says %s", filepath.Base(got), sum, p.SHA256)
	}
	// Copied, not moved: some clients keep the file in a cache of their own.
	if _, err := output(ctx, work, "cp", got, filepath.Join(work, "whole")); err != nil {
		return "", err
	}
	return kept, os.Rename(filepath.Join(work, "whole"), kept)
}

func (p *project) extension() string {
	switch p.Registry {
	case "go", "maven":
		return ".zip"
	}
	return ".tar.gz"
}

// fetch asks the registry's ordinary client and gives the path of the archive.
func (p *project) fetch(ctx context.Context, work string) (string, error) {
	switch p.Registry {
	case "go":
		text, err := output(ctx, work, "go", "mod", "download", "-json", p.Name+"@"+p.Version)
		if err != nil {
			return "", err
		}
		var module struct{ Zip string }
		return module.Zip, jsonInto(text, &module)
	case "pypi":
		_, err := output(ctx, work, "python3", "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps",
			"--dest", work, p.Name+"=="+p.Version)
		return filepath.Join(work, p.Name+"-"+p.Version+".tar.gz"), err
	case "npm":
		_, err := output(ctx, work, "npm", "pack", "--silent", p.Name+"@"+p.Version)
		return filepath.Join(work, p.Name+"-"+p.Version+".tgz"), err
	case "maven":
		group, artifact, _ := strings.Cut(p.Name, ":")
		repository := filepath.Join(work, "repository")
		_, err := output(ctx, work, "mvn", "-q", "-B", "-ntp", "-Dmaven.repo.local="+repository, "dependency:get",
			"-Dtransitive=false", "-Dartifact="+p.Name+":"+p.Version+":zip:source-release")
		return filepath.Join(repository, strings.ReplaceAll(group, ".", "/"), artifact, p.Version,
			artifact+"-"+p.Version+"-source-release.zip"), err
	case "crates":
		return p.fetchCrate(ctx, work)
	case "debian":
		return p.fetchDebian(ctx, work)
	}
	return "", fmt.Errorf("registry %q: want go, pypi, npm, maven, crates or debian", p.Registry)
}

// fetchCrate lets cargo fetch the one dependency of an empty crate.
func (p *project) fetchCrate(ctx context.Context, work string) (string, error) {
	manifest := fmt.Sprintf("[package]\nname = \"fetch\"\nversion = \"0.0.0\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\n%s = \"=%s\"\n", p.Name, p.Version)
	if err := os.WriteFile(filepath.Join(work, "Cargo.toml"), []byte(manifest), 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(work, "lib.rs"), nil, 0o644); err != nil {
		return "", err
	}
	home := filepath.Join(work, "home")
	if _, err := output(ctx, work, "env", "CARGO_HOME="+home, "cargo", "fetch", "--quiet"); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(home, "registry", "cache", "*", p.Name+"-"+p.Version+".crate"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("cargo fetched %v: %w", found, err)
	}
	return found[0], nil
}

// fetchDebian takes the upstream archive of a Debian 12 source package. The lists
// of source packages are apt's own, but kept apart from the machine's.
func (p *project) fetchDebian(ctx context.Context, work string) (string, error) {
	sources := "deb-src http://deb.debian.org/debian bookworm main\n" +
		"deb-src http://deb.debian.org/debian-security bookworm-security main\n"
	if err := os.WriteFile(filepath.Join(work, "sources.list"), []byte(sources), 0o644); err != nil {
		return "", err
	}
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return "", err
		}
	}
	apart := []string{
		"-qq", "-o", "Dir::Etc::sourcelist=" + work + "/sources.list", "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State::lists=" + work + "/lists", "-o", "Dir::Cache=" + work + "/cache", "-o", "APT::Sandbox::User=root",
	}
	if _, err := output(ctx, work, "apt-get", append(apart, "update")...); err != nil {
		return "", err
	}
	if _, err := output(ctx, work, "apt-get", append(apart, "source", "--download-only", p.Name)...); err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(work, p.Name+"_"+p.Version+".orig.tar.gz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("apt-get source brought no %s_%s.orig.tar.gz: %w", p.Name, p.Version, err)
	}
	return found[0], nil
}

// output runs a client in dir and gives its standard output.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", cmd, err, out, stderr.String())
	}
	return out, nil
}

// run is output for what must not fail.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	if _, err := output(t.Context(), dir, name, args...); err != nil {
		t.Fatal(err)
	}
}

func jsonInto(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w in %s", err, text)
	}
	return nil
}

// sumOf is the SHA-256 of a file, in hex.
func sumOf(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
