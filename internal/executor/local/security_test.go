package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestHostIsHidden asks the sandbox for things of the host.
func TestHostIsHidden(t *testing.T) {
	t.Parallel()
	home := t.TempDir() // a home of the host, with what homes hold
	for _, p := range []string{".ssh/id_ed25519", ".aws/credentials", ".cargo/credentials.toml", ".cargo/bin/tool", ".npmrc", ".pyenv/bin/pyenv", ".config/gh/hosts.yml"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(home, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, p), []byte("#!/bin/sh\necho tool\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	abstract := fmt.Sprintf("@sluice-test-%d", os.Getpid())
	l, err := net.Listen("unix", abstract)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	marked := exec.Command("sleep", "1000.125") // a process of the host
	if err := marked.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = marked.Process.Kill(); _ = marked.Wait() }()

	e := New(Config{Root: t.TempDir(), Env: []string{"HOME=" + home, "AWS_SECRET_ACCESS_KEY=key", "GITHUB_TOKEN=token",
		"PYENV_VERSION=3", "HTTPS_PROXY=http://user:password@proxy:3128", "PATH=" + home + "/.pyenv/bin:" + os.Getenv("PATH")}})
	s := openSandbox(t, e, ci.Runtime{})
	other := openSandbox(t, e, ci.Runtime{})
	if out, x := sh(t, other, "echo mine >/tmp/other; echo mine >/root/other"); x.Code != 0 {
		t.Fatal(out)
	}
	for name, c := range map[string]struct{ script, want string }{
		"keys":             {"ls -A " + home + "/.ssh " + home + "/.aws " + home + "/.config 2>/dev/null; cat " + home + "/.npmrc " + home + "/.cargo/cred* 2>/dev/null", ""},
		"toolchains":       {home + "/.cargo/bin/tool; pyenv; echo $PYENV_ROOT", "tool\ntool\n" + home + "/.pyenv"},
		"state folder":     {"ls " + e.cfg.Root + " 2>/dev/null", ""},
		"another sandbox":  {"cat /tmp/other /root/other 2>/dev/null", ""},
		"host's processes": {"cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '1000[.]125'", "0"},
		"passwords":        {"grep -v '^[^:]*:[*]:' /etc/shadow", ""},
		"host keys":        {"cat /etc/ssh/ssh_host_* /etc/ssl/private/* 2>/dev/null | grep PRIVATE", ""},
		"docker socket":    {"ls /run/docker.sock /var/run/docker.sock 2>/dev/null", ""},
		"environment":      {"env | grep -e AWS_SECRET -e GITHUB_TOKEN -e password", ""},
		"agent's files":    {"ls /proc/1/root/ /proc/1/cwd/ 2>/dev/null; for f in /proc/1/fd/*; do readlink $f; cat $f/* 2>/dev/null; done; cat /proc/1/environ /proc/1/mem 2>/dev/null | head -c 10", ""},
		"top folders":      {"ls -d /work /lost+found /var/lib/docker /var/lib/postgresql /var/backups 2>/dev/null", ""},
		"homes":            {"ls -A /home /mnt /media /srv | grep -v : | grep -v '^$' | grep -v tmp", ""},
		"abstract socket": {"/usr/bin/python3 -c 'import socket\ntry:\n socket.socket(socket.AF_UNIX).connect(\"\\0" + abstract[1:] + "\"); print(\"reached\")\nexcept OSError as e: print(e.errno)'",
			fmt.Sprint(int(unix.EPERM))},
	} {
		out, _ := sh(t, s, c.script)
		if out != c.want {
			t.Errorf("%s: got %q, want %q", name, out, c.want)
		}
	}
}

// TestHostIsNotWritten has the sandbox write where it may and looks at the host.
func TestHostIsNotWritten(t *testing.T) {
	t.Parallel()
	for _, separate := range []bool{false, true} {
		t.Run(fmt.Sprintf("separate overlays %v", separate), func(t *testing.T) {
			t.Parallel()
			e := New(Config{Root: t.TempDir()})
			e.separate = separate
			s := openSandbox(t, e, ci.Runtime{})
			if !strings.Contains(s.Placed().Isolation, "; overlay;") || strings.Contains(s.Placed().Isolation, "read-only") {
				t.Errorf("placed %q", s.Placed().Isolation)
			}
			hostIsNotWritten(t, s)
		})
	}
}

func hostIsNotWritten(t *testing.T, s ci.Sandbox) {
	name := "sluice-written-" + filepath.Base(filepath.Dir(t.TempDir()))
	dirs := []string{"/usr", "/usr/local/bin", "/etc", "/opt", "/var/lib", "/tmp", "/root", "/home", "/dev/shm", "/run", "/"}
	out, _ := sh(t, s, "for d in "+strings.Join(dirs, " ")+`; do mkdir -p $d; echo x >$d/`+name+` || echo cannot write $d; done; sed -i s/root/toor/ /etc/passwd; rm -rf /usr/share/doc/bash 2>/dev/null; true`)
	for _, d := range dirs {
		if _, err := os.Lstat(filepath.Join(d, name)); err == nil {
			t.Errorf("the sandbox wrote %s of the host", filepath.Join(d, name))
			_ = os.Remove(filepath.Join(d, name))
		}
	}
	if data, err := os.ReadFile("/etc/passwd"); err != nil || !strings.HasPrefix(string(data), "root:") {
		t.Fatalf("the sandbox changed the host's /etc/passwd: %v", err)
	}
	if os.Geteuid() == 0 && out != "" {
		t.Errorf("root's build must be able to write everywhere in its sandbox: %s", out)
	}
	if out, x := sh(t, s, "cat /usr/local/bin/"+name); out != "x" || x.Code != 0 {
		t.Errorf("what a build installs must stay: %q", out)
	}
	for path, text := range map[string]string{
		"/proc/sys/kernel/core_pattern": "|/bin/false", "/proc/sysrq-trigger": "h", "/sys/kernel/mm/transparent_hugepage/enabled": "never",
		"/proc/sys/vm/drop_caches": "1", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1",
	} {
		if out, x := sh(t, s, "echo '"+text+"' >"+path+" && echo written"); x.Code == 0 || strings.Contains(out, "written") {
			t.Errorf("the sandbox wrote %s", path)
		}
	}
}

// TestDenied tries what seccomp and the missing capabilities refuse.
func TestDenied(t *testing.T) {
	t.Parallel()
	s := openSandbox(t, New(Config{Root: t.TempDir()}), ci.Runtime{})
	for name, script := range map[string]string{
		"mount":          "mount -t tmpfs none /mnt",
		"remount":        "mount -o remount,rw,bind /proc/sys",
		"umount":         "umount /proc/sys",
		"user namespace": "unshare -U true",
		"namespaces":     "unshare -mpf true",
		"enter":          "nsenter -t 1 -m true",
		"device":         "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
		"agent":          "python3 -c 'import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).ptrace(16,1,0,0)==0 else 1)'",
		"vsock":          "python3 -c 'import socket; socket.socket(40, socket.SOCK_STREAM)'",
		"bpf":            "python3 -c 'import ctypes,sys; l=ctypes.CDLL(None,use_errno=True); l.syscall(321,0,0,0); sys.exit(0 if ctypes.get_errno()!=1 else 1)'",
		"keys":           "python3 -c 'import ctypes,sys; l=ctypes.CDLL(None,use_errno=True); l.syscall(250,0,-3,0); sys.exit(0 if ctypes.get_errno()!=1 else 1)'",
		"clock":          "date -s '2001-01-01'",
		"host's pid":     fmt.Sprintf("kill -0 %d", os.Getpid()),
	} {
		if out, x := sh(t, s, script); x.Code == 0 {
			t.Errorf("%s: allowed: %q", name, out)
		}
	}
	out, x := sh(t, s, "grep -E '^(CapPrm|CapBnd|Seccomp):' /proc/self/status | awk '{print $2}' | tr '\\n' ' '; strace -V >/dev/null 2>&1; sleep 0 & wait $!; mkfifo /tmp/f; ls /dev/shm /dev/pts >/dev/null && script -qc true /dev/null; tty=$?; true")
	if want := fmt.Sprintf("%016x %016x 2", keptMask(), keptMask()); x.Code != 0 || out != want {
		t.Errorf("capabilities and seccomp: %q, want %q", out, want)
	}
}

// TestNoNetwork has only a loopback.
func TestNoNetwork(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := openSandbox(t, New(Config{Root: t.TempDir()}), ci.Runtime{Network: "none"})
	out, _ := sh(t, s, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | grep -v -e sit0 -e tunl0 -e ip6tnl0 -e gre -e erspan -e vti -e ip6_vti")
	if out != "lo" {
		t.Errorf("interfaces: %q, want lo alone", out)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out, x := sh(t, s, "python3 -c 'import socket; s=socket.socket(); s.bind((\"127.0.0.1\",0)); s.listen(); c=socket.create_connection(s.getsockname()); print(\"own\"); socket.create_connection((\"127.0.0.1\","+port+"))' 2>/dev/null")
	if out != "own" || x.Code == 0 {
		t.Errorf("loopback: %q, exit %d; want its own alone", out, x.Code)
	}
	if !strings.Contains(s.Placed().Isolation, "no network") {
		t.Errorf("placed %q", s.Placed().Isolation)
	}
}

// TestFullDisk gives the sandboxes a disk that is too small.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	t.Parallel()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a small disk is not permitted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	e := New(Config{Root: disk})
	s := openSandbox(t, e, ci.Runtime{})
	out, x := sh(t, s, "head -c 20000000 /dev/zero >big")
	if x.Code == 0 || !strings.Contains(out, "No space left on device") {
		t.Errorf("writing 20 MB to a disk of 4: exit %d, %q", x.Code, out)
	}
	_, err := e.Open(t.Context(), ci.Placement{Job: "b/second"})
	if !errors.Is(err, ci.ErrUnavailable) || !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("open on a full disk: %v", err)
	}
	if out, x := sh(t, s, "rm big; echo room >small && cat small"); x.Code != 0 || out != "room" {
		t.Errorf("after making room: %q, exit %d", out, x.Code)
	}
}

// TestReadOnlyTrees removes what builds leave: folders that nobody may write to,
// and files of other users.
func TestReadOnlyTrees(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{Plain, Sandboxed} {
		root := t.TempDir()
		s := openSandbox(t, New(Config{Root: root}), ci.Runtime{Isolation: isolation})
		if out, x := sh(t, s, `mkdir -p "$HOME/go/pkg/mod/a@v1/b" && echo x >"$HOME/go/pkg/mod/a@v1/b/c" && chmod -R a-w "$HOME/go" && mkdir -m 0 dark && chown -R 1000 dark 2>/dev/null; ln -s / out; true`); x.Code != 0 {
			t.Fatal(out)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 {
			t.Errorf("%s: left %v", isolation, left)
		}
	}
}

// TestHalfMade leaves folders as a crash at each stage would, and sweeps them.
func TestHalfMade(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e := New(Config{Root: root})
	nobody := func(ci.JobID) bool { return false }
	empty := folderOf(root, "b/empty")
	broken := folderOf(root, "b/broken")
	for _, f := range []folder{empty, broken} {
		if err := os.MkdirAll(f.path("upper/root"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(broken.path("sandbox.json"), []byte(`{"version":1,"jo`), 0o600); err != nil {
		t.Fatal(err)
	}
	killed := openSandbox(t, e, ci.Runtime{}).(*Sandbox)
	if err := killed.rec.Process.kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range killed.rec.Groups.all() {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("a crash leaves the cgroup for Sweep to find: %v", err)
		}
	}
	held := folderOf(root, "b/held")
	unlock, err := held.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(held.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.Sweep(t.Context(), nobody); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(root)
	if len(left) != 2 { // the folder and the lock of who is making one
		t.Errorf("sweep left %v, want what is locked alone", left)
	}
	for _, dir := range killed.rec.Groups.all() {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("sweep left the cgroup %s", dir)
		}
	}
	unlock()
	if err := e.Sweep(t.Context(), nobody); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("sweep left %v", left)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	unlock, _ = held.lock(t.Context())
	cancel(ci.ErrCanceled)
	if _, err := e.Open(ctx, ci.Placement{Job: "b/held"}); !errors.Is(err, ci.ErrCanceled) {
		t.Errorf("open of a locked sandbox, canceled: %v", err)
	}
	unlock()
}
