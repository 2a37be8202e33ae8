package docker

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestSweepFolders: what a build left in the folder that it shares with us is not
// looked into; a folder that is being made stays, and one whose maker died goes.
func TestSweepFolders(t *testing.T) {
	t.Parallel()
	e, err := New(Config{Host: "unix:///none.sock", Exe: os.Args[0], Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	folder := func(job ci.JobID) string {
		r := recipe{name: e.containerName(job), job: job, image: &localImage{}}
		dir, err := e.shareJob(r)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	live, dead := folder("b/live"), folder("b/dead")
	for _, shared := range []string{live, dead} { // as a build would that wants us to wait, or to read what we must not
		for _, name := range []string{"job", "agent.json", "x"} {
			path := filepath.Join(shared, filepath.Base(agentDir), name)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	half, old := filepath.Join(e.cfg.Root, "c", "half"), filepath.Join(e.cfg.Root, "c", "old")
	for _, dir := range []string{half, old} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*halfMade)); err != nil {
		t.Fatal(err)
	}
	if err := e.sweepFolders(func(j ci.JobID) bool { return j == "b/live" }); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{live: true, dead: false, half: true, old: false} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s there: %v, want %v", dir, err == nil, want)
		}
	}
}

// TestFolderOfALostContainer: a link that a build laid over the agent's settings
// is not written through when its job gets another container.
func TestFolderOfALostContainer(t *testing.T) {
	t.Parallel()
	e, err := New(Config{Host: "unix:///none.sock", Exe: os.Args[0], Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := recipe{name: e.containerName("b/lost"), job: "b/lost", image: &localImage{}}
	first, err := e.shareJob(r)
	if err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(first, filepath.Base(agentDir), "agent.json")
	if err := os.Remove(settings); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, settings); err != nil {
		t.Fatal(err)
	}
	second, err := e.shareJob(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(precious); err != nil || string(got) != "mine" {
		t.Errorf("the file that the link leads to: %q, %v", got, err)
	}
	if second == first {
		t.Error("two containers share a folder")
	}
}
