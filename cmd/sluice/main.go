// Command sluice builds source code from the definitions that teams already
// have. This package owns the command line: flags, wiring, exit codes. No rule of
// a build lives here.
//
// The same binary is also the first process of a sandbox and the tools that
// builds find on PATH; main tells by the name it was called by.
package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/agent"
	"github.com/sluice-ci/sluice/internal/buildtool"
	"github.com/sluice-ci/sluice/internal/executor/local"
)

func main() {
	// Before anything heavy: these start many times in a build.
	base := filepath.Base(os.Args[0])
	switch {
	case base == local.Argv0:
		os.Exit(local.Main())
	case strings.HasPrefix(base, "codebuild-"):
		os.Exit(buildtool.Main(base, os.Args[1:]))
	case len(os.Args) > 1 && os.Args[1] == "agent":
		os.Exit(agent.Main(os.Args[2:]))
	}
	os.Exit(execute(os.Args[1:]))
}
