package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/runner"
	"github.com/sluice-ci/sluice/internal/source"
)

// runFlags are the flags of sluice run, as they were given.
type runFlags struct {
	file, executor, image, dockerfile string
	isolation, network                string
	env, envFiles, secrets            []string
	version, output, cache            string
	batch                             bool
	jobs                              int
	timeout                           time.Duration
	cpus                              float64
	memory, size                      string
	processes                         int64
	privileged, anyRuntime            bool
	packaging                         string
	json, quiet, keep, shell          bool
	project, initiator                string
	number                            int64

	remote bool // build on the server
	server remote
}

// register makes the flag table of sluice run.
func (f *runFlags) register(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVarP(&f.file, "file", "f", "", "`PATH` of the definition in the source (default: the first found of "+strings.Join(definitionNames(), ", ")+")")
	fs.StringVar(&f.version, "source-version", "", "build this commit, branch or tag from git instead of the files as they lie there")
	fs.BoolVar(&f.batch, "batch", false, "run the batch section: several builds, side by side")
	fs.IntVarP(&f.jobs, "jobs", "j", 0, "builds of a batch at once (default: the number of CPUs, at least 2)")

	fs.StringVarP(&f.executor, "executor", "x", "auto", "where to build: auto, local or docker; auto is docker when an image is named and an engine answers")
	fs.StringVarP(&f.image, "image", "i", "", "container `IMAGE` to build in")
	fs.StringVar(&f.dockerfile, "dockerfile", "", "build the image from this `PATH` in the source")
	fs.StringVar(&f.isolation, "isolation", "", "of the local executor: none, sandbox or gvisor (default sandbox)")
	fs.StringVar(&f.network, "network", "", "host or none (default: what the executor gives)")
	fs.BoolVar(&f.privileged, "privileged", false, "let the container administer its machine, as a Docker daemon inside needs")
	fs.BoolVar(&f.anyRuntime, "any-runtime", false, "take the host's version where the one of runtime-versions is not there")

	fs.StringArrayVarP(&f.env, "env", "e", nil, "set a variable: `NAME=VALUE`, or NAME to pass on the value from here (repeatable)")
	fs.StringArrayVar(&f.envFiles, "env-file", nil, "set the variables of a `FILE` with lines NAME=VALUE (repeatable)")
	fs.StringArrayVarP(&f.secrets, "secret", "s", nil, "set a variable that is masked in all output: `NAME` takes the value from the environment or asks for it, NAME=@FILE from a file (repeatable)")

	fs.StringVar(&f.size, "size", "", "CodeBuild compute `TYPE`, such as BUILD_GENERAL1_SMALL or medium: limits CPUs and memory")
	fs.Float64Var(&f.cpus, "cpus", 0, "limit of CPUs, such as 1.5")
	fs.StringVar(&f.memory, "memory", "", "limit of memory, such as 512m or 2g")
	fs.Int64Var(&f.processes, "processes", 0, "limit of processes")
	fs.DurationVarP(&f.timeout, "timeout", "t", 0, "stop a build that runs longer, such as 90s or 15m (default 1h)")

	fs.StringVarP(&f.output, "output", "o", "", "directory for the results (default .sluice in the source)")
	fs.StringVar(&f.packaging, "packaging", runner.Folder, "artifacts as zip or folder")
	fs.StringVar(&f.cache, "cache", "", "`DIR` of the build caches, or none (default: in the cache folder of the user)")

	fs.BoolVar(&f.json, "json", false, "print events, one JSON object a line, and nothing else")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print the failure and the summary only")
	fs.BoolVar(&f.keep, "keep", false, "keep the sandbox of a failed build, and say how to enter it")
	fs.BoolVar(&f.shell, "shell", false, "when a command fails, open a shell where it failed")

	fs.BoolVar(&f.remote, "remote", false, "build on the server instead of here: the files are sent as they lie there, changes that are not committed too")
	f.server.register(fs)
	fs.StringVar(&f.project, "project", "", "name of the project (default: the name of the directory)")
	fs.Int64Var(&f.number, "number", 0, "number of the build (default: one more than the last)")
	fs.StringVar(&f.initiator, "initiator", "", "who starts the build (default: the user)")
}

// request is what the flags come to.
type request struct {
	source    ci.Source
	variables []ci.Variable
	secrets   map[string]string
	runtime   ci.Runtime
	output    string // directory
	shown     string // the same as the user would type it
	cache     string // directory; "" = none

	credentials func(ctx context.Context, url string) (user, password string, err error) // of the source; nil = none given
}

// check reads the flags and says all that is wrong with them at once.
func (f *runFlags) check(dir string, env environment) (*request, error) {
	r := &request{}
	var wrong []error
	add := func(err error) {
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	add(f.sourceOf(r, dir))
	add(oneOf("executor", f.executor, "auto", "local", "docker"))
	add(oneOf("isolation", f.isolation, "", "none", "sandbox", "gvisor"))
	add(oneOf("network", f.network, "", "host", "none"))
	add(oneOf("packaging", f.packaging, runner.Folder, runner.Zip))
	if f.json && f.quiet {
		add(errors.New("--json and --quiet exclude each other"))
	}
	if f.shell && (f.json || !env.terminal) {
		add(errors.New("--shell needs a terminal; use --keep, and enter the sandbox later with 'sluice shell'"))
	}
	if f.image != "" && f.dockerfile != "" {
		add(errors.New("--image and --dockerfile exclude each other"))
	}
	for name, negative := range map[string]bool{"jobs": f.jobs < 0, "timeout": f.timeout < 0, "cpus": f.cpus < 0, "processes": f.processes < 0, "number": f.number < 0} {
		if negative {
			add(fmt.Errorf("--%s must not be negative", name))
		}
	}
	memory, err := parseBytes(f.memory)
	add(err)
	r.runtime = ci.Runtime{
		Image: f.image, Dockerfile: f.dockerfile, Size: f.size, CPUs: f.cpus, Memory: memory, Processes: f.processes,
		Privileged: f.privileged, Isolation: f.isolation, Network: f.network,
	}
	if f.executor != "auto" {
		r.runtime.Executor = f.executor
	}
	if _, _, err := computeSize(r.runtime); err != nil {
		add(err)
	}
	add(f.variablesOf(r, env))
	r.cache = f.cache
	switch f.cache {
	case "none":
		r.cache = ""
	case "":
		r.cache = filepath.Join(env.home, "cache")
	}
	if len(wrong) > 0 {
		return nil, &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return r, nil
}

// sourceOf settles what is built and where its results go.
func (f *runFlags) sourceOf(r *request, dir string) error {
	if dir == "" {
		dir = "."
	}
	if isRemote(dir) {
		location, err := r.withoutPassword(dir)
		if err != nil {
			return err
		}
		r.source = ci.Source{Type: "git", Location: location, Version: f.version}
		r.output, r.shown = ".sluice", ".sluice"
	} else {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if info, err := os.Stat(abs); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is not a directory: give the directory to build, or a git URL", dir)
		}
		r.source = ci.Source{Type: "directory", Location: abs}
		if f.version != "" {
			r.source = ci.Source{Type: "git", Location: abs, Version: f.version}
		}
		r.shown = filepath.Join(dir, ".sluice")
		r.output = filepath.Join(abs, ".sluice")
	}
	if f.output != "" {
		r.shown, r.output = f.output, f.output
	}
	abs, err := filepath.Abs(r.output)
	if err != nil {
		return fmt.Errorf("--output %s: %w", r.output, err)
	}
	r.output = abs
	if r.output == r.source.Location {
		return errors.New("--output must not be the source itself: its build.log, artifacts and reports would be replaced")
	}
	return nil
}

// withoutPassword gives the location of a repository as it may be shown and
// stored; user and password in it are kept for the fetcher alone.
func (r *request) withoutPassword(location string) (string, error) {
	if !strings.Contains(location, "://") {
		return location, nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return "", fmt.Errorf("%s is not a URL: give the URL of a git repository; in a password, write %%25 for %%, %%40 for @, %%2F for /", source.Redact(location))
	}
	if u.User == nil || u.Scheme == "ssh" { // whose user is no secret
		return location, nil
	}
	user := u.User
	u.User = nil
	r.credentials = func(_ context.Context, asked string) (string, string, error) {
		if at, err := url.Parse(asked); err != nil || at.Scheme != u.Scheme || at.Host != u.Host {
			return "", "", nil
		}
		password, _ := user.Password()
		return user.Username(), password, nil
	}
	return u.String(), nil
}

func isRemote(s string) bool {
	if strings.Contains(s, "://") {
		return true
	}
	host, path, ok := strings.Cut(s, ":")
	return ok && strings.Contains(host, "@") && !strings.ContainsRune(host, '/') && path != ""
}

func oneOf(flag, value string, allowed ...string) error {
	var names []string
	for _, a := range allowed {
		if value == a {
			return nil
		}
		if a != "" {
			names = append(names, a)
		}
	}
	return fmt.Errorf("--%s %q: want %s%s", flag, value, strings.Join(names, ", "), didYouMean(value, names, ""))
}

// parseBytes reads a size as people write memory: 512m, 2g, 1GiB, 1.5G, 1048576.
// Units are powers of 1024, as the flags of container engines have them.
func parseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	lower := strings.ToLower(strings.TrimSpace(s))
	number := strings.TrimRight(lower, "bikmgt")
	unit := strings.TrimSuffix(strings.TrimSuffix(lower[len(number):], "b"), "i")
	shift := map[string]int{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
	bits, known := shift[unit]
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !known || !(v > 0) || v*float64(int64(1)<<bits) > 1<<62 {
		return 0, fmt.Errorf("--memory %q: want a number with a unit, such as 512m or 2g", s)
	}
	return int64(v * float64(int64(1)<<bits)), nil
}
