package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/internal/ci"
)

// execute runs the command line and gives the exit code.
func execute(args []string) int {
	root := newRoot(wanted(args)...)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// `project crate --source .`: the flag is right, the command is not.
		if _, rest, _ := root.Find(args); cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return unknownCommand(cmd, rest)
		}
		return unknownFlag(cmd, err)
	})
	err := root.ExecuteContext(context.Background())
	var e *exitError
	if err != nil && (!errors.As(err, &e) || e.err != nil) {
		fmt.Fprintln(os.Stderr, "sluice:", ci.Message(err))
	}
	return codeOf(err)
}

// inOrder keeps commands in the order in which they are added. cobra has one
// switch for the whole process, and tests make several roots at once.
var inOrder = sync.OnceFunc(func() { cobra.EnableCommandSorting = false })

// commands are made when they are needed: most of the time that is one of them.
var commands = []struct {
	name string
	make func() *cobra.Command
}{
	{"run", newRun}, {"lint", newLint}, {"plan", newPlan}, {"schema", newSchema}, {"env", newEnv}, {"doctor", newDoctor},
	{"secret", newSecret}, {"identity", newIdentity}, {"shell", newShell}, {"sweep", newSweep},
	{"serve", newServe}, {"config", newConfig}, {"project", newProject}, {"build", newBuild}, {"logs", newLogs}, {"artifact", newArtifact},
	{"node", newNode}, {"user", newUser}, {"token", newToken}, {"whoami", newWhoami}, {"audit", newAudit},
	{"group", newGroup}, {"login", newLogin}, {"logout", newLogout}, {"context", newContext},
	{"report", newReport},
	{"why", newWhy}, {"usage", newUsage}, {"budget", newBudget}, {"top", newTop},
	{"notify", newNotify},
	{"fsck", newFsck}, {"backup", newBackup}, {"restore", newRestore}, {"migrate", newMigrate},
	{"version", newVersion}, {"man", newMan},
}

// wanted is the command that the arguments begin with; none means that all may be.
func wanted(args []string) []string {
	for _, c := range commands {
		if len(args) > 0 && args[0] == c.name && c.name != "man" { // which is about the others
			return args[:1]
		}
	}
	return nil
}

// newRoot makes the program with the commands of those names, or with all.
func newRoot(names ...string) *cobra.Command {
	inOrder()
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Build source code from a buildspec, here, in a container or on a server",
		Long: `Sluice builds source code: it runs a buildspec.yml as AWS CodeBuild would, in a
sandbox on this machine or in a container, and hands back the log, the artifacts,
the test and coverage reports and the cache. As a server it does so for many
projects and builds at once.`,
		Example: `  sluice run                  build the project in this directory
  sluice run --image golang:1.26 ../app
  sluice lint                 check the buildspec
  sluice serve                run the server
  sluice doctor               what this machine can do`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	for _, c := range commands {
		if len(names) == 0 || slices.Contains(names, c.name) {
			root.AddCommand(c.make())
		}
	}
	listings(root)
	wrapArgs(root)
	return root
}

// wrapArgs makes every complaint about arguments one about the command line.
func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil && cmd.HasSubCommands() {
		check = unknownCommand
		cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() } // or cobra would not look at the arguments
	}
	if check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			var e *exitError
			if err == nil || errors.As(err, &e) {
				return err
			}
			return usagef("%w; see '%s --help'", err, c.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// unknownCommand is the Args of a command that has only subcommands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	return usagef("there is no command %q%s; see '%s --help'", args[0], didYouMean(args[0], names, ""), cmd.CommandPath())
}

// unknownFlag turns pflag's complaints into ours, with the nearest flag.
func unknownFlag(cmd *cobra.Command, err error) error {
	var none *pflag.NotExistError
	if !errors.As(err, &none) {
		return usagef("%w; see '%s --help'", err, cmd.CommandPath())
	}
	name := none.GetSpecifiedName()
	if none.GetSpecifiedShortnames() != "" {
		return usagef("there is no flag -%s; see '%s --help'", name, cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return usagef("there is no flag --%s%s; see '%s --help'", name, didYouMean(name, names, "--"), cmd.CommandPath())
}

func didYouMean(got string, names []string, dashes string) string {
	best, at := "", 3 // a name further off than two slips is another word
	for _, n := range names {
		d := distance(got, n)
		if strings.HasPrefix(n, got) && len(got) > 2 {
			d = 1
		}
		if d < at {
			best, at = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", dashes+best)
}

// distance counts the slips between two words: a letter too many, one too few,
// another one, two swapped.
func distance(a, b string) int {
	before, prev := []int(nil), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur := make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev = prev, cur
	}
	return prev[len(b)]
}
