package local

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/sluice-ci/sluice/internal/ci"
)

type runtimesYAML struct {
	Version  string
	Runtimes map[string]struct {
		Versions map[string]struct{ Commands []string }
	}
}

// TestRuntimes has every version that was found switched to, and asks it who it is.
func TestRuntimes(t *testing.T) {
	t.Parallel()
	ask := map[string]string{
		"golang": "go version", "python": "python -V 2>&1", "nodejs": "node --version", "java": "javac -version 2>&1",
		"rust": "rustc --version", "ruby": "ruby --version", "php": "php --version", "dotnet": "dotnet --version",
	}
	for _, isolation := range []string{Plain, Sandboxed} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			e := New(Config{Root: t.TempDir()})
			s := openSandbox(t, e, ci.Runtime{Isolation: isolation}).(*Sandbox)
			if err := s.EnsureRuntimes(t.Context()); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(s.folder.path("image/runtimes.yml"))
			if isolation != Plain {
				var out string
				out, _ = sh(t, s, "cat "+runtimesFile)
				text, err = []byte(out), nil
			}
			if err != nil {
				t.Fatal(err)
			}
			var file runtimesYAML
			if err := yaml.Unmarshal(text, &file); err != nil || file.Version != "0.1" {
				t.Fatalf("%v\n%s", err, text)
			}
			if _, err := exec.LookPath("python3"); err == nil && len(file.Runtimes["python"].Versions) == 0 {
				t.Errorf("the host has python3, and none was found in\n%s", text)
			}
			for name, r := range file.Runtimes {
				for version, v := range r.Versions {
					if ask[name] == "" || name == "rust" && strings.ContainsAny(version, "abcdefghijklmnopqrstuvwxyz") {
						continue
					}
					number := strings.TrimLeft(version, "abcdefghijklmnopqrstuvwxyz")
					out, x := sh(t, s, strings.Join(v.Commands, "\n")+"\n"+ask[name])
					if x.Code != 0 || !strings.Contains(out, number) {
						t.Errorf("%s %s: exit %d, %q after\n%s", name, version, x.Code, out, strings.Join(v.Commands, "\n"))
					}
				}
			}
		})
	}
}
