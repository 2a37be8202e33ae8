package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/agent"
)

// settings is what the agent in a container reads. env is the image's; cgroup2
// says which kind of cgroups the container sees.
func settings(files string, r *recipe, cgroup2 bool) ([]byte, error) {
	s := agent.Settings{
		Socket:    socketPath,
		Dirs:      dirs(),
		Spool:     agentDir,
		Env:       environment(r.image.Env),
		OOMEvents: "/sys/fs/cgroup/memory/memory.oom_control",
		// The host's has others' traffic in it.
		OwnNetwork: r.network != "host",
	}
	if cgroup2 {
		s.OOMEvents = "/sys/fs/cgroup/memory.events"
	}
	if files == Bind && os.Getuid() != 0 {
		s.Owner = &agent.Owner{UID: os.Getuid(), GID: os.Getgid()}
	}
	return json.Marshal(s)
}

// cgroup2Here looks at this machine, which is the engine's where files are shared.
func cgroup2Here() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// environment is the base of every command's: what the image says, with HOME
// and the tools.
func environment(image []string) []string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	var out []string
	for _, v := range image {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "PATH":
			path = value
		case "HOME":
		default:
			out = append(out, v)
		}
	}
	return append(out, "PATH="+path+":"+binDir, "HOME="+dirs().Home)
}

// shareTools makes the folder with the binary and the names of the tools, once.
// Its name holds the binary's size and time, so that a newer one gets its own
// and containers that run keep theirs.
func (e *Executor) shareTools() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bins != "" {
		return nil
	}
	info, err := os.Stat(e.cfg.Exe)
	if err != nil {
		return fmt.Errorf("the sluice binary: %w", err)
	}
	dir := filepath.Join(e.cfg.Root, "bin-"+strconv.FormatInt(info.Size(), 36)+"-"+strconv.FormatInt(info.ModTime().UnixNano(), 36))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("folder for the tools: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask: run-as users have the tools too
		return fmt.Errorf("folder for the tools: %w", err)
	}
	if err := place(e.cfg.Exe, filepath.Join(dir, "sluice")); err != nil {
		return fmt.Errorf("share the sluice binary with containers: %w", err)
	}
	for _, t := range e.cfg.Tools {
		if err := os.Symlink("sluice", filepath.Join(dir, t)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("share the tool %s with containers: %w", t, err)
		}
	}
	e.bins = dir
	return nil
}

// place links or copies the binary, whole or not at all.
func place(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := os.Link(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(to), "sluice-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	if _, err = io.Copy(out, in); err == nil {
		err = out.Chmod(0o755)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// dynamic says whether a binary needs libraries.
func dynamic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// shareJob makes the folder of one container: whose it is, and in the part that
// the container sees the agent's settings and room for its socket. It is always a
// new one: in one that a container has had there may be links of the build's.
func (e *Executor) shareJob(r recipe) (folder string, err error) {
	if err := os.MkdirAll(e.folders(), 0o700); err != nil {
		return "", fmt.Errorf("folder for the agent's socket: %w", err)
	}
	folder, err = os.MkdirTemp(e.folders(), r.name+"-")
	if err != nil {
		return "", fmt.Errorf("folder for the agent's socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(folder)
		}
	}()
	// Sweep must know whose folder it is when the container is gone already.
	if err := os.WriteFile(filepath.Join(folder, jobFile), []byte(r.job), 0o600); err != nil {
		return "", fmt.Errorf("folder for the agent's socket: %w", err)
	}
	if err := os.Mkdir(sharedDir(folder), 0o700); err != nil {
		return "", fmt.Errorf("folder for the agent's socket: %w", err)
	}
	data, err := settings(Bind, &r, cgroup2Here())
	if err != nil {
		return "", fmt.Errorf("settings of the agent: %w", err)
	}
	if err := os.WriteFile(filepath.Join(sharedDir(folder), filepath.Base(configPath)), data, 0o600); err != nil {
		return "", fmt.Errorf("settings of the agent: %w", err)
	}
	return folder, nil
}

// copyIn puts the binary, the tools and the settings into a container that is
// not running yet.
func (e *Executor) copyIn(ctx context.Context, id string, r recipe) error {
	info, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return err
	}
	data, err := settings(Copy, &r, info.Info.CgroupVersion == "2")
	if err != nil {
		return fmt.Errorf("settings of the agent: %w", err)
	}
	exe, err := os.Open(e.cfg.Exe)
	if err != nil {
		return fmt.Errorf("the sluice binary: %w", err)
	}
	defer func() { _ = exe.Close() }()
	file, err := exe.Stat()
	if err != nil {
		return fmt.Errorf("the sluice binary: %w", err)
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := tar.NewWriter(pw)
		pw.CloseWithError(errors.Join(e.writeFiles(t, data, exe, file.Size()), t.Close()))
	}()
	_, err = e.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: pr})
	_ = pr.Close()
	<-done
	if err != nil {
		return fmt.Errorf("copy the agent into the container: %w", err)
	}
	return nil
}

func (e *Executor) writeFiles(t *tar.Writer, settings []byte, exe io.Reader, size int64) error {
	if err := writeDirs(t, "codebuild/", strings.TrimPrefix(binDir, "/")+"/", strings.TrimPrefix(agentDir, "/")+"/"); err != nil {
		return err
	}
	if err := writeDirs(t, append(workDirs(), "tmp/")...); err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(exePath, "/"), Typeflag: tar.TypeReg, Mode: 0o755, Size: size}); err != nil {
		return err
	}
	if _, err := io.Copy(t, exe); err != nil {
		return err
	}
	for _, name := range e.cfg.Tools {
		if err := t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(binDir, "/") + "/" + name, Typeflag: tar.TypeSymlink, Linkname: "sluice", Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Name: strings.TrimPrefix(configPath, "/"), Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(settings))}); err != nil {
		return err
	}
	_, err := t.Write(settings)
	return err
}

// workDirs are the directories that commands find, parents first.
func workDirs() []string {
	return []string{"codebuild/output/", "codebuild/output/src/", "codebuild/output/src/src/", "codebuild/output/tmp/"}
}

func writeDirs(t *tar.Writer, names ...string) error {
	for _, n := range names {
		mode := int64(0o755)
		if n == "tmp/" {
			mode = 0o1777
		}
		if err := t.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeDir, Mode: mode}); err != nil {
			return err
		}
	}
	return nil
}

// dirsTar is directories as a tar of its own.
func dirsTar(names ...string) (io.Reader, error) {
	var buf bytes.Buffer
	t := tar.NewWriter(&buf)
	if err := errors.Join(writeDirs(t, names...), t.Close()); err != nil {
		return nil, fmt.Errorf("make the working directories: %w", err)
	}
	return &buf, nil
}
