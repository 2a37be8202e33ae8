// Command sluice builds source code from the definitions that teams already
// have. This package owns the command line: flags, wiring, exit codes. No rule of
// a build lives here.
//
// The same binary is also the first process of a sandbox and the tools that
// builds find on PATH; main tells by the name it was called by.
package main

import (
	"os"
	"runtime/debug"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/inside"
)

func main() {
	// Before anything heavy: these start many times in a build.
	if code, ok := inside.Main(os.Args); ok {
		os.Exit(code)
	}
	// A command's life is short and its heap small: collecting early costs more than it frees.
	debug.SetGCPercent(400)
	os.Exit(execute(os.Args[1:]))
}
