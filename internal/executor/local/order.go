package local

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// order is what the first process of a sandbox is told, on a pipe.
type order struct {
	Op         string   `json:"op"` // serve, remove
	Folder     string   `json:"folder"`
	Isolation  string   `json:"isolation,omitempty"`
	Dirs       ci.Dirs  `json:"dirs,omitzero"`
	Env        []string `json:"env,omitempty"`
	Layers     []layer  `json:"layers,omitempty"`
	Exe        string   `json:"exe,omitempty"`
	Tools      []string `json:"tools,omitempty"`
	Privileged bool     `json:"privileged,omitempty"`
	Network    string   `json:"network,omitempty"`
	Single     bool     `json:"single,omitempty"`
	Ordinary   bool     `json:"ordinary,omitempty"`  // who runs this is not root
	Processes  int64    `json:"processes,omitempty"` // limit by the agent itself, where no cgroup holds it
	OOMEvents  string   `json:"oomEvents,omitempty"`
	Runsc      string   `json:"runsc,omitempty"`
	Hostname   string   `json:"hostname,omitempty"`

	// HostFD is an inherited mount of the host's file system; 0 = none.
	HostFD int `json:"hostFD,omitempty"`
	// Spool is the open spool folder, for the second stage when there must be one.
	Spool int `json:"spool,omitempty"`
}

const (
	opServe  = "serve"
	opRemove = "remove"
)

// layer is a folder of the host that the sandbox shows, at the same path.
type layer struct {
	Path string `json:"path"`
	Name string `json:"name"` // of its upper and work folders
	// Base says that it is part of the mount that the host's "/" is.
	Base bool `json:"base,omitempty"`
	// ReadOnly folders need no overlay: who runs this may not write to them, and
	// so nobody in the sandbox may.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// Where things are in a sandbox.
const (
	toolsDir     = "/codebuild/bin"
	runtimesFile = "/codebuild/image/config/runtimes.yml"
)

var sandboxDirs = ci.Dirs{Source: "/codebuild/output/src/src", Home: "/root", Temp: "/tmp"}

// plainDirs are the same below the folder of a sandbox that has no root.
func plainDirs(f folder) ci.Dirs {
	return ci.Dirs{
		Source: f.path("src"),
		Home:   f.path("home"),
		Temp:   f.path("tmp"),
	}
}

// layers chooses the host's folders to show.
func (h *host) layers() []layer {
	var out []layer
	for _, top := range shown {
		// A link (as /bin is today) is copied as one.
		if fi, err := os.Lstat("/" + top); err == nil && fi.IsDir() {
			out = append(out, layer{Path: "/" + top, Name: top})
		}
	}
	if os.Geteuid() == 0 { // nobody else may install packages
		for _, d := range keptInVar {
			if fi, err := os.Lstat("/var/" + d); err == nil && fi.IsDir() {
				out = append(out, layer{Path: "/var/" + d, Name: "var-" + strings.ReplaceAll(d, "/", "-")})
			}
		}
	}
	for _, p := range h.toolchains() {
		out = append(out, layer{Path: p, Name: "tool" + strings.ReplaceAll(p, "/", "-")})
	}
	for i := range out {
		l := &out[i]
		l.Base = onRootMount(l.Path)
		l.ReadOnly = os.Geteuid() != 0 && l.Path != "/usr" && l.Path != "/etc" && !writable(l.Path)
	}
	return out
}

// environ is the base environment of a sandbox's commands.
func (h *host) environ(dirs ci.Dirs, tools string, isolated bool) []string {
	path := []string{tools}
	toolchains := h.toolchains()
	for _, p := range h.path() {
		if !isolated || visible(p) || slices.ContainsFunc(toolchains, func(t string) bool { return within(p, t) }) {
			path = append(path, p)
		}
	}
	env := []string{
		"PATH=" + strings.Join(path, ":"),
		"HOME=" + dirs.Home,
		"TMPDIR=" + dirs.Temp,
	}
	if isolated {
		// A distribution's Python wants its packages left to the distribution. What a
		// build installs here is gone with the sandbox, and builds expect to `pip install`.
		env = append(env, "USER=root", "LOGNAME=root", "PIP_BREAK_SYSTEM_PACKAGES=1")
	} else if user := h.env["USER"]; user != "" {
		env = append(env, "USER="+user, "LOGNAME="+user)
	}
	env = append(env, h.passEnv()...)
	return append(env, h.toolEnv()...)
}

// exe is the sluice binary.
func (e *Executor) exe() (string, error) {
	if e.cfg.Exe != "" {
		return filepath.Abs(e.cfg.Exe)
	}
	return os.Executable()
}
