package local

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/agent"
	"github.com/sluice-ci/sluice/internal/ci"
)

// In a gVisor sandbox the agent makes its own socket, in a folder that it shares
// with the host: a listening socket cannot be handed into gVisor.
const (
	runDir    = "/codebuild/run"
	runSource = "run" // of the sandbox's folder
	inGVisor  = "gvisor"
)

func (f folder) gvisorSocket() string { return f.path(runSource, "agent.sock") }

// findRunsc is the gVisor binary.
func (e *Executor) findRunsc() (string, error) {
	if e.cfg.Runsc != "" {
		return e.cfg.Runsc, nil
	}
	for _, dir := range e.host.path() {
		p := filepath.Join(dir, "runsc")
		if unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("isolation %s needs runsc, and it is not on PATH: install gVisor, or use isolation %s: %w", GVisor, Sandboxed, ci.ErrUnavailable)
}

// superviseGVisor is the first process of a gVisor sandbox's PID namespace. It
// has put the root together as for a namespace sandbox, and does not enter it but
// gives it to runsc. It ends when runsc does; and when it is killed, all ends.
func (o *order) superviseGVisor(answer *os.File) error {
	if err := unix.Mount("proc", "/proc", "proc", quiet, ""); err != nil {
		return fmt.Errorf("mount /proc for runsc: %w", err)
	}
	settings := agent.Settings{
		Socket: runDir + "/agent.sock", Dirs: o.Dirs, Spool: runDir, Env: o.Env, ReadyFIFO: "",
	}
	if err := writeJSON(filepath.Join(runSource, "agent.json"), settings); err != nil {
		return err
	}
	if err := os.Mkdir("bundle", 0o700); err != nil {
		return err
	}
	if err := writeJSON("bundle/config.json", o.bundle()); err != nil {
		return err
	}
	network := "--network=host"
	if o.Network == "none" {
		network = "--network=none"
	}
	c := exec.Command(o.Runsc, "--root="+o.Folder+"/runsc", "--rootless", network, "--ignore-cgroups", "--host-uds=all", "--overlay2=none",
		"run", "--bundle="+o.Folder+"/bundle", "sandbox")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return fmt.Errorf("start runsc: %w", err)
	}
	if _, err := answer.WriteString("started\n"); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_ = answer.Close()
	return reapUntil(c.Process.Pid)
}

// reapUntil reaps all orphans of the PID namespace until a process has ended.
func reapUntil(pid int) error {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for runsc: %w", err)
		}
		if got == pid {
			if status.ExitStatus() != 0 {
				return fmt.Errorf("runsc ended with status %d (signal %v)", status.ExitStatus(), status.Signal())
			}
			return nil
		}
	}
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, data, 0o600)
}

// bundle is the part of an OCI runtime configuration that runsc needs.
func (o *order) bundle() map[string]any {
	var caps []string
	for _, c := range kept {
		caps = append(caps, capabilityNames[c])
	}
	bind := func(to, from string) map[string]any {
		return map[string]any{"destination": to, "type": "bind", "source": filepath.Join(o.Folder, from), "options": []string{"rw", "rbind"}}
	}
	return map[string]any{
		"ociVersion": "1.0.2",
		"hostname":   o.Hostname,
		"root":       map[string]any{"path": filepath.Join(o.Folder, newRoot)},
		"process": map[string]any{
			"user": map[string]any{"uid": 0, "gid": 0},
			"args": []string{toolsDir + "/" + Argv0, inGVisor},
			"env":  []string{"GOTRACEBACK=single"},
			"cwd":  "/",
			"capabilities": map[string]any{
				"bounding": caps, "effective": caps, "permitted": caps,
			},
		},
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc"},
			{"destination": "/sys", "type": "sysfs", "options": []string{"ro"}},
			bind("/tmp", "tmp"), bind("/codebuild/output/src", "src"), bind(runDir, runSource),
		},
		"linux": map[string]any{
			"namespaces": []map[string]any{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}},
		},
	}
}

// capabilityNames of what is kept.
var capabilityNames = map[int]string{
	unix.CAP_CHOWN: "CAP_CHOWN", unix.CAP_DAC_OVERRIDE: "CAP_DAC_OVERRIDE", unix.CAP_FSETID: "CAP_FSETID", unix.CAP_FOWNER: "CAP_FOWNER",
	unix.CAP_MKNOD: "CAP_MKNOD", unix.CAP_NET_RAW: "CAP_NET_RAW", unix.CAP_SETGID: "CAP_SETGID", unix.CAP_SETUID: "CAP_SETUID",
	unix.CAP_SETFCAP: "CAP_SETFCAP", unix.CAP_SETPCAP: "CAP_SETPCAP", unix.CAP_NET_BIND_SERVICE: "CAP_NET_BIND_SERVICE",
	unix.CAP_SYS_CHROOT: "CAP_SYS_CHROOT", unix.CAP_KILL: "CAP_KILL", unix.CAP_AUDIT_WRITE: "CAP_AUDIT_WRITE",
}
