package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/executortest"
)

// engineCase is one way to run the tests: an engine, and how files get in.
type engineCase struct {
	name, env, files string
}

func engines() []engineCase {
	return []engineCase{
		{"docker-20", "SLUICE_TEST_DOCKER_20", ""},
		{"docker-20-copy", "SLUICE_TEST_DOCKER_20", Copy},
		{"docker-new", "SLUICE_TEST_DOCKER_NEW", ""},
		{"podman", "SLUICE_TEST_PODMAN", ""},
	}
}

// host gives the engine's address, or skips.
func (c engineCase) host(t testing.TB) string {
	t.Helper()
	h := os.Getenv(c.env)
	if h == "" {
		t.Skipf("%s is not set: start the engine with test/engines/ and set it to the DOCKER_HOST that it prints", c.env)
	}
	return h
}

// eachEngine runs a test on every engine there is.
func eachEngine(t *testing.T, run func(t *testing.T, c engineCase)) {
	for _, c := range engines() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.host(t)
			run(t, c)
		})
	}
}

// sluiceBinary is the static binary that goes into containers: the test's own would
// need the libraries of this machine when it was built with -race.
var sluiceBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sluice-docker-test-")
	if err != nil {
		return "", err
	}
	exe := filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-o", exe, "./testdata/sluice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return exe, nil
})

func TestMain(m *testing.M) {
	executortest.RunClient(playClient)
	code := m.Run()
	if exe, err := sluiceBinary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(exe))
	}
	os.Exit(code)
}

// open makes an executor whose containers are gone after the test.
func (c engineCase) executor(t testing.TB, change func(*Config)) *Executor {
	t.Helper()
	exe, err := sluiceBinary()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Host: c.host(t), Exe: exe, Root: t.TempDir(), Files: c.files, Tools: []string{"codebuild-hash-files"}, User: t.TempDir()}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Sweep(context.Background(), func(ci.JobID) bool { return false }); err != nil {
			t.Error(err)
		}
		_ = e.api.Close()
	})
	return e
}

// busybox is the name of an image with nothing but a static busybox, made in the
// engine on first use.
func busybox(t testing.TB, e *Executor) string {
	t.Helper()
	const name = "localhost/sluice-test/busybox:2"
	ctx := t.Context()
	if img, err := e.inspectImage(ctx, name); err != nil {
		t.Fatal(err)
	} else if img != nil {
		return name
	}
	path, err := lookBusybox()
	if err != nil {
		t.Skip(err)
	}
	exe, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	importTar(t, e, name, busyboxTar(t, exe), "ENV PATH=/bin", "ENV FROM_IMAGE=yes", "USER 1000")
	return name
}

// lookBusybox finds a static busybox on this machine.
func lookBusybox() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", errors.New("busybox is missing: apt-get install busybox-static")
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		return "", fmt.Errorf("busybox is not static (it needs %v): apt-get install busybox-static", libs)
	}
	return path, nil
}

// removed waits until the engine has removed a sandbox's container, for which
// Close does not wait. Before that its image cannot go.
func removed(t testing.TB, s ci.Sandbox) {
	t.Helper()
	x := s.(*Sandbox)
	gone := x.exec.api.ContainerWait(context.Background(), x.id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	select {
	case <-gone.Result:
	case err := <-gone.Error:
		if !missing(err) {
			t.Error(err)
		}
	}
}

// removeImages makes the engine forget images, if it has them.
func removeImages(t testing.TB, e *Executor, refs ...string) {
	t.Helper()
	for _, r := range refs {
		if _, err := e.api.ImageRemove(context.Background(), r, client.ImageRemoveOptions{Force: true}); err != nil && !cerrdefs.IsNotFound(err) {
			t.Error(err)
		}
	}
}

func busyboxTar(t testing.TB, exe []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, exe)
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"))
	add(tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\nuser:x:1000:\n"))
	names, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range strings.Fields(string(names)) {
		if n != "busybox" {
			add(tar.Header{Name: "bin/" + n, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// importTar makes an image of one layer.
func importTar(t testing.TB, e *Executor, name string, layer []byte, changes ...string) {
	t.Helper()
	res, err := e.api.ImageImport(t.Context(), client.ImageImportSource{Source: bytes.NewReader(layer), SourceName: "-"}, name, client.ImageImportOptions{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Close() }()
	if _, err := io.Copy(io.Discard, res); err != nil {
		t.Fatal(err)
	}
}

// output runs a script and gives what it printed and how it ended.
func output(t testing.TB, s ci.Sandbox, c ci.Command) (string, ci.Exit) {
	t.Helper()
	p, err := s.Start(t.Context(), c)
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
	_ = r.Close()
	x, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), x
}
