package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sluice-ci/sluice/internal/ci"
)

func newRun() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [DIR | URL]",
		Short: "Build a project",
		Long: `Run builds the project in DIR (default: this directory) by its buildspec, and
leaves the results in DIR/.sluice: build.json, build.log, artifacts, reports.

The exit code is 0 when the build succeeded, 1 when it failed, 2 when the
definition or the command line is wrong, 3 when it could not be found out, 124
when it timed out and 130 when it was canceled.`,
		Example: `  sluice run
  sluice run ../app --env STAGE=test --secret NPM_TOKEN
  sluice run --source-version v1.2.0 --packaging zip
  sluice run --image node:22 --size BUILD_GENERAL1_SMALL
  sluice run --batch --jobs 4
  sluice run --remote --project app
  sluice run --shell          look around where a command failed`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := strings.Join(args, "")
			if f.remote {
				return f.runRemote(cmd.Context(), cmd.Flags(), dir)
			}
			return f.run(cmd.Context(), dir)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

// surroundings are those of this process.
func surroundings() (environment, error) {
	env := environment{lookup: os.LookupEnv}
	env.terminal = term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	if term.IsTerminal(int(os.Stdin.Fd())) {
		env.ask = askOn(os.Stdin)
	}
	var err error
	env.home, err = stateHome(os.LookupEnv)
	return env, err
}

// run builds, and ends with the build's exit code.
func (f *runFlags) run(ctx context.Context, dir string) error {
	env, err := surroundings()
	if err != nil {
		return err
	}
	req, err := f.check(dir, env)
	if err != nil {
		return err
	}
	s, err := newSession(f, req, env)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx)
}

// projectName makes a project's name of where its source is.
func projectName(location string) string {
	name := strings.TrimSuffix(filepath.Base(strings.TrimRight(location, "/")), ".git")
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	name = regexp.MustCompile(`[^A-Za-z0-9_.-]+`).ReplaceAllString(name, "-")
	name = strings.Trim(name, "-.")
	if name == "" {
		return "project"
	}
	return name
}

// userName is who starts the build.
func userName(lookup func(string) (string, bool)) string {
	for _, v := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if name, ok := lookup(v); ok && name != "" {
			return name
		}
	}
	return "local"
}

// heard is a source of secrets that remembers what it found, because texts of
// Sluice's own must not show it either.
type heard struct {
	ci.SecretSource

	mu    sync.Mutex
	known []string
}

// Lookup is ci.SecretSource's.
func (h *heard) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	value, err := h.SecretSource.Lookup(ctx, kind, ref)
	if err == nil && value != "" {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.known = append(h.known, value)
	}
	return value, err
}

// hide masks the secrets in a text.
func (h *heard) hide(text string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, secret := range h.known {
		if len(secret) >= shortestMask {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// shortestMask is the length below which a text of ours is not searched for a
// secret: masking "1" would leave nothing readable. The logs mask all lengths.
const shortestMask = 3

// warn prints what the user must know beside the build's own course.
func warn(text string) { fmt.Fprintln(os.Stderr, "sluice: "+text) }

// resolveFirst finds out whether a version that the command line names exists, so
// that a slip there is a wrong command line and not a broken build.
func resolveFirst(ctx context.Context, fetcher ci.Fetcher, src ci.Source) error {
	if src.Version == "" {
		return nil
	}
	_, err := fetcher.Resolve(ctx, src)
	if errors.Is(err, ci.ErrNotFound) || errors.Is(err, ci.ErrInvalid) {
		return usagef("--source-version %s: %w", src.Version, err)
	}
	return err
}
