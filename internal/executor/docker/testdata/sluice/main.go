// Command sluice stands in for the real binary in the tests of the executor: all
// that a container needs of it is the agent.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-ci/sluice/internal/agent"
)

func main() {
	switch name := filepath.Base(os.Args[0]); {
	case name != "sluice":
		fmt.Println("tool", name)
	case len(os.Args) > 1 && os.Args[1] == "agent":
		os.Exit(agent.Main(os.Args[2:]))
	default:
		fmt.Fprintln(os.Stderr, "usage: sluice agent …")
		os.Exit(2)
	}
}
