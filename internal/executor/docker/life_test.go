package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// open makes a sandbox of the busybox image.
func open(t *testing.T, e *Executor, job ci.JobID, change func(*ci.Placement)) *Sandbox {
	t.Helper()
	p := ci.Placement{Job: job, Runtime: ci.Runtime{Image: busybox(t, e)}}
	if change != nil {
		change(&p)
	}
	s, err := e.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Sandbox)
}

// TestRace: however many open a job at once, one container is made, and one of
// them is told so.
func TestRace(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		p := ci.Placement{Job: "race/job", Runtime: ci.Runtime{Image: busybox(t, e)}}
		var wg sync.WaitGroup
		var mu sync.Mutex
		fresh, ids := 0, map[string]bool{}
		for range 5 {
			wg.Go(func() {
				s, err := e.Open(t.Context(), p)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[s.(*Sandbox).id] = true
				if s.Fresh() {
					fresh++
				}
			})
		}
		wg.Wait()
		if fresh != 1 || len(ids) != 1 {
			t.Errorf("%d fresh, %d containers; want one each", fresh, len(ids))
		}
	})
}

// TestAnotherProcess: a step that runs is found again by an executor that knows
// nothing of the first, as after kill -9; it ran once, and its output is whole.
func TestAnotherProcess(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		root := t.TempDir()
		same := func(cfg *Config) { cfg.Root = root }
		first := c.executor(t, same)
		s := open(t, first, "again/job", nil)
		step := ci.Command{ID: "again/job/BUILD/0", Script: "echo begin; read line <gate; echo $line; exit 7"}
		prepare, x := output(t, s, ci.Command{ID: "again/job/INSTALL/0", Script: "mkfifo gate"})
		if x.Code != 0 {
			t.Fatal(prepare)
		}
		if _, err := s.Start(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		found := open(t, c.executor(t, same), "again/job", func(p *ci.Placement) { p.Runtime.Image = "gone/since:then" })
		if found.Fresh() {
			t.Fatal("found, and yet fresh")
		}
		p, err := found.Start(t.Context(), ci.Command{ID: step.ID, Script: "echo never"})
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := output(t, found, ci.Command{ID: "again/job/BUILD/1", Script: "echo opened >gate"}); text != "" {
			t.Error(text)
		}
		r, err := p.Output(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if x, werr := p.Wait(t.Context()); err != nil || werr != nil || string(text) != "begin\nopened\n" || x.Code != 7 {
			t.Errorf("output %q (%v), exit %+v (%v)", text, err, x, werr)
		}
	})
}

// TestKilled: a container that is killed from outside is said to be lost, by
// Wait and by Start, and the next Open makes a new one.
func TestKilled(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		s := open(t, e, "killed/job", nil)
		p, err := s.Start(t.Context(), ci.Command{ID: "killed/job/BUILD/0", Script: "echo here; sleep 1000"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Output(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := readLine(r); err != nil || line != "here" {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := e.api.ContainerKill(t.Context(), s.id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
			t.Fatal(err)
		}
		_, err = p.Wait(t.Context())
		if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), s.name+" is lost") {
			t.Errorf("Wait: %v", err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, ci.ErrUnavailable) {
			t.Errorf("Output: %v", err)
		}
		if _, err := s.Start(t.Context(), ci.Command{ID: "killed/job/BUILD/1", Script: "true"}); !errors.Is(err, ci.ErrUnavailable) {
			t.Errorf("Start: %v", err)
		}
		if next := open(t, e, "killed/job", nil); !next.Fresh() {
			t.Error("the container after a lost one is not fresh")
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close of the lost one: %v", err)
		}
	})
}

func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := r.Read(b); err != nil {
			return string(line), err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}

// TestSweep: what no live job owns goes, also what never started and what another
// process left; what is live or another owner's stays.
func TestSweep(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e, other := c.executor(t, nil), c.executor(t, nil)
		live, dead := open(t, e, "sweep/live", nil), open(t, e, "sweep/dead", nil)
		foreign := open(t, other, "sweep/dead", nil)
		created, err := e.createOptions(recipe{name: e.containerName("sweep/half"), job: "sweep/half", image: &localImage{ID: busybox(t, e)}, network: "none", files: Copy})
		if err != nil {
			t.Fatal(err)
		}
		half, err := e.api.ContainerCreate(t.Context(), created)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Sweep(t.Context(), func(j ci.JobID) bool { return j == "sweep/live" }); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]bool{live.id: true, dead.id: false, half.ID: false, foreign.id: true} {
			found, err := e.find(t.Context(), id)
			if err != nil || (found != nil) != want {
				t.Errorf("container %.8s there: %v, want %v (%v)", id, found != nil, want, err)
			}
		}
		if c.files == Copy {
			return
		}
		if _, err := os.Stat(dead.folder); !os.IsNotExist(err) {
			t.Errorf("the swept container's folder is there: %v", err)
		}
		if _, err := os.Stat(live.folder); err != nil {
			t.Errorf("the live container's folder: %v", err)
		}
	})
}

// TestClose: nothing of a job is left when it is closed, at the engine or on disk.
func TestClose(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		s := open(t, e, "close/job", nil)
		if _, err := s.Start(t.Context(), ci.Command{ID: "close/job/BUILD/0", Script: "sleep 1000"}); err != nil {
			t.Fatal(err)
		}
		gone := e.api.ContainerWait(t.Context(), s.id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		select {
		case <-gone.Result:
		case <-gone.Error: // removed before the question came
		}
		if found, err := e.find(t.Context(), s.id); found != nil || err != nil {
			t.Errorf("the container is there: %v", err)
		}
		if left, err := filepath.Glob(filepath.Join(e.cfg.Root, "c", "*")); len(left) > 0 || err != nil {
			t.Errorf("left: %v (%v)", left, err)
		}
	})
}

// TestMemory: the limit holds, and going over it is said to be what it is.
func TestMemory(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		s := open(t, e, "memory/job", func(p *ci.Placement) { p.Runtime.Memory, p.Runtime.CPUs = 64<<20, 1.5 })
		text, x := output(t, s, ci.Command{ID: "memory/job/BUILD/0", Script: "dd if=/dev/zero of=/dev/null bs=200M count=1"})
		if x.Code != 137 || !x.OOM {
			t.Errorf("exit %+v, want 137 and out of memory; output %s", x, text)
		}
		u, err := s.Usage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u.OOMKills < 1 || u.PeakMemory < 32<<20 || u.PeakMemory > 65<<20 || u.CPUSeconds <= 0 {
			t.Errorf("usage %+v", u)
		}
	})
}

// TestProcesses: a command that forks without end hits the limit.
func TestProcesses(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		s := open(t, e, "bomb/job", func(p *ci.Placement) { p.Runtime.Processes = 64 })
		// The command clears up after itself: with every process of the container taken,
		// an engine that is spoken to by execs could not be asked how the command ended.
		script := "(i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done)\nkill -9 0"
		text, x := output(t, s, ci.Command{ID: "bomb/job/BUILD/0", Script: script})
		if x.Code == 0 || !strings.Contains(text, "fork") {
			t.Errorf("exit %d, output %.200q; want a fork that is refused", x.Code, text)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestNetwork: none is none, host is the host's, and another word is refused.
func TestNetwork(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		mine, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		for network, script := range map[string]string{
			"none": "wc -l < /proc/net/dev", // two of heading, and the loopback
			"host": "readlink /proc/self/ns/net",
		} {
			s := open(t, e, ci.JobID("net/"+network), func(p *ci.Placement) { p.Runtime.Network = network })
			text, _ := output(t, s, ci.Command{ID: "net/x/BUILD/0", Script: script})
			if want := map[string]string{"none": "3", "host": mine}[network]; strings.TrimSpace(text) != want {
				t.Errorf("network %s: %q, want %q", network, text, want)
			}
			if !strings.Contains(s.Placed().Isolation, strings.Replace(network, "none", "no", 1)+" network") {
				t.Errorf("network %s: isolation %q", network, s.Placed().Isolation)
			}
		}
		_, err = e.Open(t.Context(), ci.Placement{Job: "net/x", Runtime: ci.Runtime{Image: "x", Network: "container:other"}})
		if !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("network of another container: %v", err)
		}
	})
}

// TestDockerfile: the image is built from the source, its layers are kept, and a
// Dockerfile that is wrong says so.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		base := busybox(t, e)
		t.Cleanup(func() { removeImages(t, e, buildTag(e, "one", "ci/Dockerfile"), buildTag(e, "two", "ci/Dockerfile")) })
		source := func(dockerfile string) func(context.Context, io.Writer) error {
			return func(_ context.Context, w io.Writer) error {
				a := tar.NewWriter(w)
				for name, text := range map[string]string{"ci/Dockerfile": dockerfile, "data.txt": "from the source\n"} {
					if err := a.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
						return err
					}
					if _, err := io.WriteString(a, text); err != nil {
						return err
					}
				}
				return a.Close()
			}
		}
		try := func(job ci.JobID, file, text string) (ci.Sandbox, string, error) {
			var log bytes.Buffer
			s, err := e.Open(t.Context(), ci.Placement{Job: job, Runtime: ci.Runtime{Dockerfile: file}, BuildContext: source(text), Log: &log})
			return s, log.String(), err
		}
		good := "FROM " + base + "\nUSER root\nCOPY data.txt /data.txt\nRUN cat /data.txt >/made && echo built-marker\nENTRYPOINT [\"/no/such\"]\n"
		s, log, err := try("file/one", "ci/Dockerfile", good)
		if err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
		if text, _ := output(t, s, ci.Command{ID: "file/one/BUILD/0", Script: "cat /made"}); text != "from the source\n" {
			t.Errorf("in the image: %q", text)
		}
		if s.Placed().Image != "ci/Dockerfile" || !strings.HasPrefix(s.Placed().Digest, "sha256:") {
			t.Errorf("placed %+v", s.Placed())
		}
		if !strings.Contains(log, "built-marker") {
			t.Errorf("the log has nothing of the build: %q", log)
		}
		if _, log, err := try("file/two", "./ci/Dockerfile", good); err != nil || !strings.Contains(strings.ToLower(log), "cache") {
			t.Errorf("the second build took nothing from the cache (%v):\n%s", err, log)
		}
		for file, text := range map[string]string{"ci/Dockerfile": "FROM " + base + "\nUSER root\nRUN exit 3\n", "ci/None": "", "../up/Dockerfile": ""} {
			_, _, err := try("file/bad", file, text)
			var ie *ImageError
			if !errors.As(err, &ie) {
				t.Errorf("%s: error %v, want an ImageError", file, err)
			}
		}
	})
}

// TestNothingSecret: what anybody may see at the engine has no value of the build.
func TestNothingSecret(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		s := open(t, e, "secret/job", func(p *ci.Placement) { p.Secrets = map[string]string{"registry:example.org": "ann:hunter2"} })
		if text, _ := output(t, s, ci.Command{ID: "secret/job/BUILD/0", Env: []string{"TOKEN=hunter2"}, Script: "echo $TOKEN"}); text != "hunter2\n" {
			t.Fatal(text)
		}
		res, err := e.api.ContainerInspect(t.Context(), s.id, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(res.Raw, []byte("hunter2")) {
			t.Errorf("the engine shows it: %s", res.Raw)
		}
	})
}
