package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestContainer builds the image of the server and runs it: as nobody in
// particular, healthy, with its state in a volume that outlives the container.
func TestContainer(t *testing.T) {
	t.Parallel()
	host := os.Getenv("SLUICE_TEST_DOCKER_20")
	if host == "" {
		t.Skip("SLUICE_TEST_DOCKER_20 is not set: test/engines/docker-20.sh start prints it")
	}
	docker := func(args ...string) (string, error) {
		cmd := exec.Command("docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := docker(args...)
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	const base = "sluice/minimal"
	if _, err := docker("image", "inspect", base); err != nil {
		t.Skipf("the image %s is not there: sluice env build makes it", base)
	}
	dir := t.TempDir()
	copyProgram(t, filepath.Join(dir, "sluice"))
	text, err := os.ReadFile("../../contrib/container/Dockerfile")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "Dockerfile"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ToLower("sluice-test-" + filepath.Base(filepath.Dir(dir)))
	image := name + ":test"
	must("build", "-q", "--build-arg", "BASE="+base, "-t", image, dir)
	t.Cleanup(func() {
		for _, args := range [][]string{{"rm", "-f", "-v", name}, {"volume", "rm", name}, {"image", "rm", "-f", image}} {
			_, _ = docker(args...)
		}
	})
	run := func() {
		t.Helper()
		must("run", "-d", "--name", name, "-v", name+":/data", "--health-interval", "200ms", image)
		for {
			state := must("inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", name)
			if state == "running healthy" {
				return
			}
			if !strings.HasPrefix(state, "running ") {
				t.Fatalf("the container is %s:\n%s", state, must("logs", name))
			}
		}
	}
	run()
	if got := must("exec", name, "id", "-u"); got != "7700" {
		t.Errorf("the server runs as %s", got)
	}
	client := func(command string) string {
		t.Helper()
		return must("exec", name, "bash", "-c", "export SLUICE_URL=http://127.0.0.1:7700 SLUICE_TOKEN=$(cat /data/admin-token); "+command)
	}
	client(`mkdir -p /data/src && printf 'version: 0.2\nphases: {build: {commands: ["echo built by $(id -u)"]}}\n' >/data/src/buildspec.yml`)
	client("sluice project create app --source /data/src --isolation none")
	if got := client("sluice build start app --follow"); !strings.Contains(got, "built by 7700") {
		t.Errorf("a build says %s", got)
	}
	must("stop", name)
	if code := must("inspect", "-f", "{{.State.ExitCode}}", name); code != "0" {
		t.Errorf("stopped, it ends with %s:\n%s", code, must("logs", name))
	}
	must("rm", name)
	run()
	if got := client("sluice logs app/1"); got != "built by 7700" {
		t.Errorf("after the container was made anew the log is %q", got)
	}
	if got := client("sluice fsck"); !strings.Contains(got, "all is well") {
		t.Errorf("fsck says %s", got)
	}
}

// copyProgram copies this program, which is sluice where that is its name.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = io.Copy(f, from); err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
