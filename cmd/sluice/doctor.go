package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
)

// finding is what doctor found out about one thing.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Says   string `json:"says"`
	Advice string `json:"advice,omitempty"` // what to do about it
	Runs   bool   `json:"runsBuilds,omitempty"`
}

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what this machine can do, and what to do about the rest",
		Long: `Doctor opens a sandbox of each kind, asks the container engine and looks for what
else builds need. It says what is missing and how to get it. The exit code is 1 when
no build can run here.`,
		Example: "  sluice doctor --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			env, err := surroundings()
			if err != nil {
				return err
			}
			found := examine(cmd.Context(), env)
			if asJSON {
				err = writeJSON(cmd, found)
			} else {
				err = tell(cmd, found)
			}
			if err != nil {
				return err
			}
			for _, f := range found {
				if f.OK && f.Runs {
					return nil
				}
			}
			return said(exitFailed)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as a JSON array")
	return cmd
}

func tell(cmd *cobra.Command, found []finding) error {
	for _, f := range found {
		mark := "ok     "
		if !f.OK {
			mark = "missing"
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %-18s %s\n", mark, f.Name, f.Says); err != nil {
			return err
		}
		if f.Advice != "" {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%28s %s\n", "->", f.Advice); err != nil {
				return err
			}
		}
	}
	return nil
}

func examine(ctx context.Context, env environment) []finding {
	p := newPlacer(env.home, warn)
	found := append([]finding{state(env.home)}, sandboxes(ctx, p)...)
	return append(found, engineFinding(ctx, p), gitFinding(ctx))
}

// sandboxes tells what the local executor finds out about this machine. It opens a
// sandbox of each kind: what works is what counts.
func sandboxes(ctx context.Context, p *placer) []finding {
	var found []finding
	for _, f := range p.local().Probe(ctx).Findings {
		kind, level := strings.CutPrefix(f.Name, "isolation ")
		name := f.Name
		if level {
			name = "local, " + kind
		}
		found = append(found, finding{Name: name, OK: f.OK, Says: f.Note, Advice: f.Todo, Runs: level})
	}
	return found
}

// state looks at the folder that everything is kept in.
func state(home string) finding {
	f := finding{Name: "state folder", Says: home}
	if err := os.MkdirAll(home, 0o700); err != nil {
		f.Says, f.Advice = err.Error(), "make it writable, or choose another with SLUICE_HOME"
		return f
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(home, &fs); err != nil {
		f.Says = err.Error()
		return f
	}
	free := int64(fs.Bavail) * fs.Bsize
	f.OK = true
	f.Says += ", " + show.Bytes(free) + " free"
	if free < 2<<30 {
		f.Advice = "that is little for builds: remove caches below " + filepath.Join(home, "cache") + ", or choose another disk with SLUICE_HOME"
	}
	if fs.Bavail == 0 {
		f.OK = false
	}
	return f
}

func engineFinding(ctx context.Context, p *placer) finding {
	f := finding{Name: "container engine", Runs: true}
	d, err := p.docker()
	if err == nil {
		g, probeErr := d.Probe(ctx)
		if err = probeErr; err == nil {
			f.OK = true
			f.Says = fmt.Sprintf("%s at %s, API %s, %s/%s, %d CPUs, %s, cgroup v%s", g, g.Host, g.API, g.OS, g.Arch, g.CPUs, show.Bytes(g.Memory), g.Cgroup)
			if g.Rootless {
				f.Says += ", rootless"
			}
			return f
		}
	}
	f.Says = err.Error()
	f.Advice = "needed for --image only: install Docker or Podman, start it, and let this user reach its socket; or set DOCKER_HOST"
	return f
}

func gitFinding(ctx context.Context) finding {
	f := finding{Name: "git"}
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, "git", "--version").Output()
	if err != nil {
		f.Says, f.Advice = err.Error(), "needed for --source-version and git URLs: install git"
		return f
	}
	f.OK, f.Says = true, strings.TrimSpace(string(out))
	return f
}
