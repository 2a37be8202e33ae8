package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/sluice-ci/sluice/internal/ci"
)

// setup is all that is decided before a shell starts.
type setup struct {
	shell string // its path
	dir   string
	env   []string
	plain []variable // not exported, for the script's first lines
	who   account
}

// setup resolves user, directory, environment and shell. Its errors are the
// build's own and go into the output.
func (a *agent) setup(user, session, dir, shell string, env []string) (setup, error) {
	a.reserve()
	var s setup
	var err error
	if s.who, err = findAccount(user); err != nil {
		return s, err
	}
	s.dir = dir
	if s.dir == "" {
		s.dir = a.Dirs.Source
	}
	base := a.Env
	if state, ok := a.sessions.get(session); ok {
		base, s.dir = state.env, state.dir
		s.plain = without(state.plain, env)
	}
	s.env = merge(base, env, []string{"PWD=" + s.dir})
	info, err := os.Stat(s.dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return s, fmt.Errorf("the working directory %s does not exist (any more): %w", s.dir, syscall.ENOENT)
	case err != nil:
		return s, fmt.Errorf("the working directory: %w", err)
	case !info.IsDir():
		return s, fmt.Errorf("the working directory %s is not a directory: %w", s.dir, syscall.ENOTDIR)
	}
	s.shell, err = findShell(shell, s.env)
	return s, err
}

// findShell is execvp's search, in the environment that the shell will have.
func findShell(name string, env []string) (string, error) {
	if name == "" {
		name = "sh"
	}
	if strings.HasPrefix(name, "/") {
		return name, executable(name)
	}
	path := lookup(env, "PATH")
	denied := error(nil)
	for dir := range strings.SplitSeq(path, ":") {
		if !strings.HasPrefix(dir, "/") {
			continue // relative to where? Not to a place the build chose.
		}
		file := dir + "/" + name
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.ENOENT) && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("the shell %q was not found in PATH (%s): install it in the image or choose another with env.shell: %w", name, path, syscall.ENOENT)
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("the shell %s does not exist: install it in the image or choose another with env.shell: %w", file, syscall.ENOENT)
	case err != nil:
		return fmt.Errorf("the shell %s: %w", file, err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return fmt.Errorf("the shell %s is not a program: %w", file, syscall.EACCES)
	}
	return nil
}

// attr is how the shell is forked: a session of its own, empty signal state.
func (s setup) attr(out *os.File) *syscall.ProcAttr {
	fd := out.Fd()
	return &syscall.ProcAttr{
		Dir:   s.dir,
		Env:   s.env,
		Files: []uintptr{0, fd, fd},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: s.who.credential()},
	}
}

// explain says what it means that a shell which is there could not be started.
func (s setup) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("cannot start %s: the environment variables are too big (the kernel takes about 2 MiB, and 128 KiB in one): %w", s.shell, err)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("cannot start %s: the process limit is reached; background processes of earlier commands still run, or the limit is too low: %w", s.shell, err)
	case errors.Is(err, syscall.ESHUTDOWN):
		return errors.New("cannot start a command: the sandbox is being closed")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("cannot start %s in %s as user %s (uid %d): %w", s.shell, s.dir, s.who.name, s.who.uid, err)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("cannot start %s: its interpreter or loader is missing in the image: %w", s.shell, err)
	}
	return fmt.Errorf("cannot start %s: %w", s.shell, err)
}

// scripts hands out a folder for each script that runs.
type scripts struct {
	dir  string
	last atomic.Int64
}

// folder holds one script, the plain variables it starts with and the state it
// leaves. Its user can read and fill the files, not replace them.
type folder struct {
	dir     string
	session bool
	odd     []string // environment that no shell can name, and so none can hand on
}

func (f *folder) script() string { return filepath.Join(f.dir, "script.sh") }
func (f *folder) vars() string   { return filepath.Join(f.dir, "vars.sh") }
func (f *folder) saved() string  { return filepath.Join(f.dir, "state") }
func (f *folder) remove()        { _ = os.RemoveAll(f.dir) }

// write lays the script out on disk.
func (s *scripts) write(set setup, cmd ci.Command) (*folder, error) {
	f, err := s.folder()
	if err != nil {
		return nil, err
	}
	f.session = cmd.Session != ""
	f.odd = unnameable(set.env)
	files := map[string]string{f.script(): f.text(set, cmd.Script)}
	if f.session {
		files[f.saved()] = ""
	}
	if len(set.plain) > 0 {
		files[f.vars()] = assignments(set.plain)
	}
	if err := f.lay(files, set.who); err != nil {
		f.remove()
		return nil, err
	}
	return f, nil
}

func (f *folder) lay(files map[string]string, who account) error {
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the script: %w", err)
		}
		if who.self {
			continue
		}
		if err := os.Chown(path, int(who.uid), int(who.gid)); err != nil {
			return fmt.Errorf("give the script to user %s: %w", who.name, err)
		}
	}
	return nil
}

// folder makes the next folder. What is there already is a build's trick or an
// earlier agent's leftover, and never used.
func (s *scripts) folder() (*folder, error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for the script: %w", err)
	}
	for {
		dir := filepath.Join(s.dir, "sluice-"+strconv.FormatInt(s.last.Add(1), 10))
		err := os.Mkdir(dir, 0o711)
		if err == nil {
			err = os.Chmod(dir, 0o711) // whatever the umask is
		}
		if err == nil {
			return &folder{dir: dir}, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("make a folder for the script: %w", err)
		}
	}
}

// text is the file that the shell runs. The build's own text begins at line 4,
// as on CodeBuild, so that line numbers in messages are the same.
func (f *folder) text(set setup, script string) string {
	lines := []string{"#!" + set.shell, "", "", script}
	if len(set.plain) > 0 {
		lines[1] = ". " + quote(f.vars())
	}
	if f.session {
		lines[2] = "trap " + quote(f.save()) + " EXIT"
		if setsTrap(script) {
			lines = append(lines, f.saveBeforeTrap())
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// setsTrap says whether the script may put its own EXIT trap in the place of
// ours, and can have a line of ours at its end.
func setsTrap(script string) bool {
	return strings.Contains(script, "trap") && !strings.Contains(script, "<<") && !strings.HasSuffix(script, `\`)
}

// save writes the shell's state with built-in commands alone. Options that would
// make it fail or show are off by then; `command` passes by functions of the
// build that have the names of built-ins.
func (f *folder) save() string {
	return `{ set +eux; } 2>/dev/null; ` + f.dump()
}

func (f *folder) dump() string {
	mark := "command echo " + stateMark + "; "
	return `if [ -n "${BASH_VERSION-}" ]; then command set -o posix; fi; { ` +
		"command set; " + mark + "command export -p; " + mark + "command pwd; " + mark +
		"} 2>/dev/null >|" + quote(f.saved())
}

// saveBeforeTrap saves at the end of a script with a trap of its own, which then
// runs as it would have.
func (f *folder) saveBeforeTrap() string {
	return `{ ` + statusVariable + `=$?; set +eux; } 2>/dev/null; ` + f.dump() +
		`; if [ -n "${BASH_VERSION-}" ]; then command set +o posix; fi; exit "$` + statusVariable + `"`
}

// state reads what the script left. A shell that was killed left nothing.
func (f *folder) state() (state, error) {
	file, err := os.OpenFile(f.saved(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return state{}, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxMessage {
		return state{}, fmt.Errorf("saved state: %w", ci.ErrInvalid)
	}
	data := make([]byte, info.Size())
	n, err := file.ReadAt(data, 0)
	if n < len(data) {
		return state{}, err
	}
	st, err := parseState(data)
	st.env = append(st.env, f.odd...)
	return st, err
}
