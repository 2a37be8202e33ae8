package environments_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/environments"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/docker"
	"github.com/sluice-ci/sluice/internal/image"
	"github.com/sluice-ci/sluice/internal/runtimes"
)

// TestRuntimes: each environment's runtimes.yml is one, and switching to the
// newest of every runtime in it is possible.
func TestRuntimes(t *testing.T) {
	t.Parallel()
	all, err := image.Environments(environments.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range all {
		f, err := runtimes.Parse(env.Runtimes)
		if err != nil {
			t.Errorf("%s: %v", env.Name, err)
			continue
		}
		for _, r := range f.Runtimes {
			if _, err := f.Select([]ci.RuntimeVersion{{Name: r.Name, Version: "latest"}}, nil); err != nil {
				t.Errorf("%s: %v", env.Name, err)
			}
		}
	}
}

// engine gives an executor for the first engine there is, and the tool of this
// machine that stands in for sluice in containers.
func engine(t *testing.T) *docker.Executor {
	t.Helper()
	var host string
	for _, name := range []string{"SLUICE_TEST_DOCKER_NEW", "SLUICE_TEST_DOCKER_20"} {
		if host = os.Getenv(name); host != "" {
			break
		}
	}
	if host == "" {
		t.Skip("neither SLUICE_TEST_DOCKER_NEW nor SLUICE_TEST_DOCKER_20 is set: start an engine with test/engines/ and set it to the DOCKER_HOST that it prints")
	}
	exe := filepath.Join(t.TempDir(), "sluice")
	build := exec.Command("go", "build", "-o", exe, "../internal/executor/docker/testdata/sluice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e, err := docker.New(docker.Config{Host: host, Exe: exe, Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func run(ctx context.Context, argv []string, stdout, stderr io.Writer) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdout, c.Stderr = stdout, stderr
	return c.Run()
}

// built builds an environment for real, unless this very definition is built.
func built(t *testing.T, e *docker.Executor, name string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a base with debootstrap needs root")
	}
	states, err := image.List(t.Context(), e, environments.Files)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Name != name || s.Built && !s.Stale {
			continue
		}
		var log bytes.Buffer
		b := image.Builder{Engine: e, Host: image.ThisHost(), Run: run, Log: &log}
		info, err := b.Build(t.Context(), s.Environment)
		if err != nil {
			tail := log.Bytes()
			t.Fatalf("%v\n%s", err, tail[max(0, len(tail)-4000):])
		}
		t.Logf("%s: %d MB", name, info.Size>>20)
	}
}

// inside runs a script in an environment.
func inside(t *testing.T, e *docker.Executor, name, script string) {
	t.Helper()
	s, err := e.Open(t.Context(), ci.Placement{Job: ci.JobID("environment/" + strings.ReplaceAll(name, "/", "-")), Runtime: ci.Runtime{Image: name, Network: "host"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	p, err := s.Start(t.Context(), ci.Command{ID: "environment/x/BUILD/0", Shell: "bash", Script: "set -ex\n" + script})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Output(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := p.Wait(t.Context()); err != nil || x.Code != 0 {
		t.Errorf("exit %+v, %v:\n%s", x, err, text)
	}
}

// TestMinimal builds sluice/minimal from Debian's packages and uses it.
func TestMinimal(t *testing.T) {
	t.Parallel()
	e := engine(t)
	built(t, e, image.Minimal)
	inside(t, e, image.Minimal, `
		for tool in git curl jq zip unzip make ssh; do command -v $tool; done
		test -s /etc/ssl/certs/ca-certificates.crt
		test -s /codebuild/image/config/runtimes.yml
		test ! -e /tmp/environment
		git init -q . && echo '{"a":1}' | jq -e .a`)
}

// TestStandard builds sluice/standard, which takes minutes and gigabytes, and
// compiles something in each of its languages.
func TestStandard(t *testing.T) {
	t.Parallel()
	if os.Getenv("SLUICE_TEST_STANDARD") == "" {
		t.Skip("SLUICE_TEST_STANDARD is not set: building sluice/standard takes minutes and gigabytes")
	}
	e := engine(t)
	built(t, e, image.Standard)
	inside(t, e, image.Standard, `
		for tool in git jq zip make cmake npm mvn bundle composer docker aws kubectl; do command -v $tool; done
		echo 'int main(){return 0;}' >a.c && gcc a.c -o a && ./a
		printf 'package main\nfunc main(){println("go")}\n' >a.go && go run a.go
		node -e 'console.log("node")'
		python -m venv v && pip --version
		printf 'class A{public static void main(String[] a){System.out.println("java");}}' >A.java && javac A.java && java A && test -x $JAVA_HOME/bin/javac
		ruby -e 'puts :ruby'; php -r 'echo "php\n";'
		echo 'fn main(){println!("rust")}' >a.rs && rustc a.rs -o r && ./r && cargo --version
		aws --version; kubectl version --client; docker --version
		id codebuild-user`)
	env, err := image.Find(environments.Files, image.Standard)
	if err != nil {
		t.Fatal(err)
	}
	f, err := runtimes.Parse(env.Runtimes)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{"golang": "go version", "nodejs": "node --version", "python": "python --version", "java": "java -version 2>&1", "ruby": "ruby --version", "php": "php --version", "rust": "rustc --version"}
	for _, r := range f.Runtimes {
		for _, v := range r.Versions {
			if versions[r.Name] == "" {
				continue
			}
			sel, err := f.Select([]ci.RuntimeVersion{{Name: r.Name, Version: v.Name}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			number := strings.TrimPrefix(v.Name, "openjdk")
			inside(t, e, image.Standard, fmt.Sprintf("%s\n%s | grep -F %s", strings.Join(sel.Commands(), "\n"), versions[r.Name], number))
		}
	}
}
