package projects_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// scratch holds the binary; TestMain makes and removes it.
var scratch string

// sluice builds the binary once.
var sluice = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(scratch, "sluice")
	cmd := exec.Command("go", "build", "-trimpath", "-o", binary, "../../cmd/sluice")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New("go build: " + err.Error() + "\n" + string(out))
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "sluice-projects-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// TestLocal builds every project twice in the local sandbox.
func TestLocal(t *testing.T) {
	t.Parallel()
	for _, p := range manifests(t) {
		t.Run(p.dir, func(t *testing.T) {
			t.Parallel()
			skipShort(t)
			for _, program := range p.Needs {
				if _, err := exec.LookPath(program); err != nil {
					t.Skipf("%s is not on this machine: install it", program)
				}
			}
			// Where Debian keeps its Python for itself, its users say this to pip.
			p.twice(t, os.Environ(), "--executor", "local", "--packaging", "zip")
		})
	}
}

// TestDocker builds every project twice in the prepackaged environment.
func TestDocker(t *testing.T) {
	t.Parallel()
	host := os.Getenv("SLUICE_TEST_DOCKER_20")
	for _, p := range manifests(t) {
		t.Run(p.dir, func(t *testing.T) {
			t.Parallel()
			skipShort(t)
			if host == "" {
				t.Skip("SLUICE_TEST_DOCKER_20 names no engine: start one with test/engines/docker-20.sh start")
			}
			if !hasImage(t, host, "sluice/standard") {
				t.Skip("the engine has no image sluice/standard: build it with sluice env build sluice/standard")
			}
			env := append(os.Environ(), "DOCKER_HOST="+host)
			p.twice(t, env, "--executor", "docker", "--image", "sluice/standard", "--network", "host")
		})
	}
}

func skipShort(t *testing.T) {
	if testing.Short() {
		t.Skip("builds of real projects take minutes: run without -short")
	}
}

// twice builds the project with an empty cache and then with what that left.
func (p *project) twice(t *testing.T, env []string, args ...string) {
	t.Helper()
	dir, cache, out := p.source(t), t.TempDir(), t.TempDir()
	before := fingerprint(t, dir)
	args = append([]string{"run", dir, "--cache", cache, "--output", out, "--timeout", "15m", "--project", p.dir}, args...)
	if p.Expect.Jobs > 0 {
		args = append(args, "--batch")
	}
	for number, warm := range []bool{false, true} {
		r := build(t, env, out, args...)
		if r == nil || r.Number != number+1 || r.ExitCode != 0 || r.Status != "succeeded" || r.Built != "SUCCEEDED" {
			t.Fatalf("build.json: got %+v, want build %d succeeded", r, number+1)
		}
		if p.Expect.Jobs == 0 {
			p.Expect.check(t, &r.outcome, out, warm)
		}
		if len(r.Jobs) != p.Expect.Jobs {
			t.Errorf("got %d jobs, want %d", len(r.Jobs), p.Expect.Jobs)
		}
		for i := range r.Jobs {
			if r.Jobs[i].Status != "succeeded" {
				t.Errorf("job %s: got %s", r.Jobs[i].Name, r.Jobs[i].Status)
			}
			p.Expect.check(t, &r.Jobs[i].outcome, out, warm)
		}
		if after := fingerprint(t, dir); after != before {
			t.Errorf("the build changed its source:\n%s", difference(before, after))
		}
		if t.Failed() {
			t.Fatalf("build %d is not as expected; its log:\n%s", number+1, tail(filepath.Join(out, "build.log"), 4000))
		}
	}
}

// build runs the binary once and reads what it wrote.
func build(t *testing.T, env []string, out string, args ...string) *record {
	t.Helper()
	binary, err := sluice()
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = env
	text, err := cmd.CombinedOutput()
	t.Logf("built in %s", time.Since(started).Round(time.Second/10))
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, last(string(text), 8000))
	}
	data, err := os.ReadFile(filepath.Join(out, "build.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("build.json: %v", err)
	}
	return &r
}

// fingerprint has a line for each file of a tree: mode, sum or link, path.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := ""
		switch {
		case info.Mode().IsRegular():
			what, err = sumOf(path)
		case info.Mode()&fs.ModeSymlink != 0:
			what, err = os.Readlink(path)
		}
		b.WriteString(info.Mode().String() + " " + what + " " + strings.TrimPrefix(path, dir) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// difference lists the lines that only one of the two has.
func difference(before, after string) string {
	var b strings.Builder
	for _, s := range []struct{ sign, lines, other string }{{"-", before, after}, {"+", after, before}} {
		for line := range strings.Lines(s.lines) {
			if !strings.Contains(s.other, line) {
				b.WriteString(s.sign + line)
			}
		}
	}
	return b.String()
}

func tail(file string, n int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return last(string(text), n)
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// hasImage asks the engine, without a client's help, whether it has the image.
func hasImage(t *testing.T, host, image string) bool {
	t.Helper()
	socket := strings.TrimPrefix(host, "unix://")
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	res, err := client.Get("http://engine/images/" + image + "/json")
	if err != nil {
		t.Fatalf("the engine %s does not answer: %v", host, err)
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}
