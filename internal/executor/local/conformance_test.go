package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
)

// state is how a client in another process reaches the same executor.
type state struct{ Root, Isolation string }

// client is an executortest.Client.
func client(text string) (ci.Executor, func(ci.JobID) ci.Placement, error) {
	var s state
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, nil, err
	}
	return New(Config{Root: s.Root}), s.placement, nil
}

func (s state) placement(job ci.JobID) ci.Placement {
	return ci.Placement{Job: job, Runtime: ci.Runtime{Isolation: s.Isolation}}
}

func (s state) kill(t testing.TB, job ci.JobID, _ ci.Sandbox) {
	rec, err := folderOf(s.Root, job).read()
	if err != nil {
		t.Fatal(err)
	}
	if err := rec.Process.kill(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func conform(t *testing.T, isolation string, f executortest.Features) {
	t.Helper()
	conformWith(t, isolation, 0, f)
}

// keeping is an executor that has sandboxes made ahead as long as the test runs.
func keeping(t testing.TB, c Config, n int) *Executor {
	e := New(c)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Keep(ctx, n) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

func conformWith(t *testing.T, isolation string, ahead int, f executortest.Features) {
	t.Helper()
	s := state{Root: t.TempDir(), Isolation: isolation}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	executortest.Run(t, executortest.Suite{
		Open: func(t testing.TB) ci.Executor {
			if ahead > 0 {
				return keeping(t, Config{Root: s.Root}, ahead)
			}
			return New(Config{Root: s.Root})
		},
		Placement: s.placement,
		Kill:      s.kill,
		State:     string(text),
		Features:  f,
	})
	// A sandbox that was lost and made again outlives the handles of the first.
	if err := New(Config{Root: s.Root}).Sweep(t.Context(), func(ci.JobID) bool { return false }); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if left, err := os.ReadDir(s.Root); err != nil || len(left) > 0 {
		t.Errorf("the suite left %v in the state folder (%v)", left, err)
	}
}

// limited says which limits hold for who runs this.
func limitsHold(t *testing.T) held {
	h, err := findHierarchy()
	if err != nil {
		t.Fatal(err)
	}
	g := h.plan("probe-" + strings.ReplaceAll(filepath.Base(t.TempDir()), "/", "-") + fmt.Sprint(os.Getpid()))
	state := h.make(&g, limits{})
	if err := g.remove(t.Context()); err != nil {
		t.Error(err)
	}
	return state
}

func TestConformancePlain(t *testing.T) {
	state := limitsHold(t)
	conform(t, Plain, executortest.Features{
		Bash: true, Memory: state.holds("memory"), Processes: state.holds("pids"), Usage: len(state.Holds) > 0, Leaves: true,
		Why: "isolation none changes no users; an ordinary user has no cgroup here",
	})
}

func TestConformanceSandbox(t *testing.T) {
	state := limitsHold(t)
	user := "nobody"
	if os.Geteuid() != 0 && subordinate("/etc/subuid").Size == 0 {
		user = ""
	}
	conform(t, Sandboxed, executortest.Features{
		User: user, Bash: true, Memory: state.holds("memory"), Processes: true, Usage: len(state.Holds) > 0, Leaves: true,
		Why: "an ordinary user has no cgroup and no other users here",
	})
}

// TestConformanceAhead is the suite with sandboxes that were made ahead wherever
// there was time to make one.
func TestConformanceAhead(t *testing.T) {
	state := limitsHold(t)
	user := "nobody"
	if os.Geteuid() != 0 && subordinate("/etc/subuid").Size == 0 {
		user = ""
	}
	conformWith(t, Sandboxed, 2, executortest.Features{
		User: user, Bash: true, Memory: state.holds("memory"), Processes: true, Usage: len(state.Holds) > 0, Leaves: true,
		Why: "an ordinary user has no cgroup and no other users here",
	})
}

// ordinary is the user that tests run as when they are not to be root.
const ordinary = 65534

// TestOrdinaryUser runs this package's tests again as an ordinary user.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user")
	}
	t.Parallel()
	dir, err := os.MkdirTemp("", "sluice-ordinary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, d := range []string{dir, filepath.Join(dir, "tmp"), filepath.Join(dir, "home")} {
		_ = os.Mkdir(d, 0o700)
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"tmp", "home"} {
		if err := os.Chown(filepath.Join(dir, d), ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "local.test") // the original is below a folder of root's own
	copyFile(t, os.Args[0], bin)
	if runsc, err := New(Config{}).findRunsc(); err == nil {
		copyFile(t, runsc, filepath.Join(dir, "runsc"))
	}
	c := exec.CommandContext(t.Context(), bin, "-test.v", "-test.timeout=5m")
	c.Dir = dir
	c.Env = []string{"HOME=" + dir + "/home", "TMPDIR=" + dir + "/tmp", "PATH=" + dir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "CI=" + os.Getenv("CI")}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("as an ordinary user: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestConformanceGVisor(t *testing.T) {
	if _, err := New(Config{}).findRunsc(); err != nil {
		t.Skip(err)
	}
	user := "nobody"
	if os.Geteuid() != 0 && subordinate("/etc/subuid").Size == 0 {
		user = ""
	}
	conform(t, GVisor, executortest.Features{
		User: user, Bash: true, Usage: len(limitsHold(t).Holds) > 0, Leaves: true,
		Why: "gVisor's memory is one process to the kernel, and it has no process limit",
	})
}
