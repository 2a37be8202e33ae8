package local

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-ci/sluice/internal/ci"
)

// found is one version of a runtime that the host has.
type found struct {
	name     string   // as runtime-versions calls the runtime: golang, nodejs, java, ...
	versions []string // names it answers to, the full one first; "" = it has short ones only
	commands []string // that switch to it
}

// Runtimes finds the runtimes that the host has and a sandbox shows, and lists
// them in the format of CodeBuild's runtimes.yml.
func (e *Executor) Runtimes(ctx context.Context) ([]byte, error) { return e.runtimes(ctx, true) }

func (e *Executor) runtimes(ctx context.Context, isolated bool) ([]byte, error) {
	f := finder{host: e.host, isolated: isolated, toolchains: e.host.toolchains()}
	searches := []func(context.Context) []found{f.golang, f.python, f.nodejs, f.java, f.ruby, f.php, f.rust, f.dotnet, f.docker}
	lists := make([][]found, len(searches))
	g, ctx := errgroup.WithContext(ctx)
	for i, search := range searches {
		g.Go(func() error {
			lists[i] = search(ctx)
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("find the host's runtimes: %w", err)
	}
	return writeRuntimes(slices.Concat(lists...)), nil
}

// EnsureRuntimes puts the list of the host's runtimes where a build image has its
// own, for runtime-versions to choose from. Builds that choose nothing do not pay
// for the search.
func (s *Sandbox) EnsureRuntimes(ctx context.Context) error {
	text, err := s.executor.runtimes(ctx, s.rec.Isolation != Plain)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	_ = w.WriteHeader(&tar.Header{Name: filepath.Base(runtimesFile), Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(0, 0)})
	_, _ = w.Write(text)
	if err := w.Close(); err != nil {
		return fmt.Errorf("pack the list of runtimes: %w", err)
	}
	if err := s.Put(ctx, s.imageConfig(), &packed); err != nil {
		return fmt.Errorf("keep the list of runtimes: %w", err)
	}
	return nil
}

// imageConfig is the folder of runtimes.yml, which is the host's own without isolation.
func (s *Sandbox) imageConfig() string {
	if s.rec.Isolation == Plain {
		return s.folder.path("image")
	}
	return filepath.Dir(runtimesFile)
}

// Get packs files of the sandbox; see ci.Sandbox. Without isolation the image's
// runtimes.yml is the sandbox's own and never the host's.
func (s *Sandbox) Get(ctx context.Context, set ci.FileSet, w io.Writer) (ci.Matched, error) {
	if s.rec.Isolation == Plain && slices.Equal(set.Globs, []string{runtimesFile}) {
		set.Dir, set.Base, set.Globs = s.imageConfig(), "", []string{filepath.Base(runtimesFile)}
	}
	return s.Client.Get(ctx, set, w)
}

// writeRuntimes writes runtimes.yml. The first that answers to a name has it.
func writeRuntimes(all []found) []byte {
	var out strings.Builder
	out.WriteString("version: 0.1\nruntimes:\n")
	if len(all) == 0 {
		return []byte("version: 0.1\nruntimes: {}\n")
	}
	var names []string
	for _, f := range all {
		if !slices.Contains(names, f.name) {
			names = append(names, f.name)
		}
	}
	for _, name := range names {
		fmt.Fprintf(&out, "  %s:\n    versions:\n", name)
		taken := map[string]bool{}
		for full := range 2 { // a full version before anybody's short form
			for _, f := range all {
				for i, v := range f.versions {
					if f.name != name || v == "" || (i > 0) != (full > 0) || taken[v] {
						continue
					}
					taken[v] = true
					fmt.Fprintf(&out, "      %s:\n        commands:\n", strconv.Quote(v))
					for _, c := range f.commands {
						fmt.Fprintf(&out, "          - %s\n", strconv.Quote(c))
					}
				}
			}
		}
	}
	return []byte(out.String())
}

// finder looks for runtimes where installers put them.
type finder struct {
	host       *host
	isolated   bool
	toolchains []string
}

// shows says whether builds see a path.
func (f finder) shows(path string) bool {
	return !f.isolated || visible(path) ||
		slices.ContainsFunc(f.toolchains, func(t string) bool { return within(path, t) })
}

// glob finds what builds see, the newest first.
func (f finder) glob(patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		if strings.HasPrefix(p, "~/") {
			p = f.host.home + p[1:]
		}
		matches, _ := filepath.Glob(p)
		for _, m := range matches {
			if f.shows(m) {
				out = append(out, m)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return compareVersions(filepath.Base(b), filepath.Base(a)) })
	return out
}

// program is the first of a name on the host's PATH that is not a shim, because a
// shim's answer depends on where it is asked.
func (f finder) program(name string) string {
	for _, dir := range f.host.path() {
		p := filepath.Join(dir, name)
		if filepath.Base(dir) == "shims" || !f.shows(p) {
			continue
		}
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// versionIn is the first version number in a text.
func versionIn(text string) string { return versionPattern().FindString(text) }

var versionPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9]+(\.[0-9]+)+`) })

// ask runs a program for its version.
func (f finder) ask(ctx context.Context, program string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(f.host.passEnv(), "PATH="+strings.Join(f.host.path(), ":"), "HOME="+f.host.home)
	out, err := c.Output()
	if err != nil {
		return ""
	}
	return versionIn(string(out))
}

// named gives the names of a version: 3.11.7, 3.11 and, when wanted, 3.
func named(version string, major bool) []string {
	out := []string{version}
	parts := strings.Split(version, ".")
	if len(parts) > 2 {
		out = append(out, parts[0]+"."+parts[1])
	}
	if major && len(parts) > 1 {
		out = append(out, parts[0])
	}
	return out
}

// onPath is the command that puts a folder first on PATH.
func onPath(dir string) string { return "export PATH=" + quote(dir) + `:"$PATH"` }

// link is a program under another name.
type link struct{ name, program string }

// chosen puts programs first on PATH without all else that is in their folder:
// /usr/bin before everything would take away what was chosen before.
func chosen(runtime, version string, links []link) []string {
	dir := `"$HOME/.sluice/` + runtime + "-" + version + `"`
	command := "mkdir -p " + dir
	for _, l := range links {
		if _, err := os.Stat(l.program); err == nil {
			command += " && ln -sf " + quote(l.program) + " " + dir + "/" + l.name
		}
	}
	return []string{command, "export PATH=" + dir + `:"$PATH"`}
}

// beside chooses the first program and the others that lie in its folder.
func beside(runtime, version, program string, others ...string) []string {
	links := []link{{filepath.Base(program), program}}
	for _, o := range others {
		links = append(links, link{o, filepath.Join(filepath.Dir(program), o)})
	}
	return chosen(runtime, version, links)
}

func set(name, value string) string { return "export " + name + "=" + quote(value) }

// quote quotes for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// compareVersions orders by the numbers in two names.
func compareVersions(a, b string) int {
	return slices.Compare(numbersIn(a), numbersIn(b))
}

func numbersIn(s string) []int {
	var out []int
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ := strconv.Atoi(part)
		out = append(out, n)
	}
	return out
}
