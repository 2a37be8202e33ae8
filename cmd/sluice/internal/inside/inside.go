// Package inside is what the sluice binary is inside a sandbox: its first
// process, and the tools that builds find on PATH. Two programs are made of it:
// sluice itself, and the small one that sluice carries along for sandboxes.
//
// It decides by the name it was called by, and does nothing else.
package inside

import (
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/agent"
	"github.com/sluice-ci/sluice/internal/buildtool"
	"github.com/sluice-ci/sluice/internal/executor/local"
)

// Main runs what the arguments of a process call for inside a sandbox, and
// returns its exit code; ok is false when they call for something else.
func Main(args []string) (code int, ok bool) {
	name := filepath.Base(args[0])
	switch {
	case name == local.Argv0:
		return local.Main(), true
	case strings.HasPrefix(name, "codebuild-"):
		return buildtool.Main(name, args[1:]), true
	case len(args) > 1 && args[1] == "agent":
		return agent.Main(args[2:]), true
	}
	return 0, false
}
