package buildtool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/fileset"
)

// tool is one of the commands and where it stands.
type tool struct {
	name string
	args []string
	dir  string
	env  func(string) string
	out  io.Writer
	err  io.Writer
}

// Names lists the commands, for those who put them on a PATH.
func Names() []string {
	return []string{"codebuild-hash-files", "codebuild-glob-search", "codebuild-tests-run", "codebuild-breakpoint", "codebuild-resume"}
}

// Main runs the command of that name and gives its exit code: 2 when it was
// called wrongly.
func Main(name string, args []string) int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &tool{name: name, args: args, dir: dir, env: os.Getenv, out: os.Stdout, err: os.Stderr}
	return t.run(ctx)
}

// errUsage is a wrong call; usage has been printed.
var errUsage = errors.New("usage")

// ended is a program that the tool ran and that ended with a code of its own.
type ended int

func (e ended) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func (t *tool) run(ctx context.Context) int {
	commands := map[string]func(context.Context) error{
		"codebuild-hash-files":  t.hashFiles,
		"codebuild-glob-search": t.globSearch,
		"codebuild-tests-run":   t.testsRun,
		"codebuild-breakpoint":  t.breakpoint,
		"codebuild-resume":      t.resume,
	}
	command := commands[t.name]
	if command == nil {
		fmt.Fprintf(t.err, "%s: there is no such tool; there are %s\n", t.name, strings.Join(Names(), ", "))
		return 2
	}
	err := command(ctx)
	var code ended
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		return 2
	}
	fmt.Fprintf(t.err, "%s: %v\n", t.name, err)
	return 1
}

func (t *tool) usage(text string) error {
	fmt.Fprintf(t.err, "usage: %s %s\n", t.name, text)
	return errUsage
}

// hashFiles prints the SHA-256 of the contents of all files that match, one after
// the other in the order of their names.
func (t *tool) hashFiles(ctx context.Context) error {
	globs, err := t.globs()
	if err != nil {
		return err
	}
	sum, matched, err := fileset.Hash(ctx, ci.FileSet{Dir: t.dir, Globs: globs})
	if err != nil {
		return err
	}
	for _, g := range matched.Unmatched {
		fmt.Fprintf(t.err, "%s: warning: %s matches no file\n", t.name, g)
	}
	if matched.Files == 0 {
		// The sum of nothing would be a key like any other, and the same for all.
		return fmt.Errorf("no file matches %s", strings.Join(globs, " "))
	}
	_, err = fmt.Fprintln(t.out, sum)
	return err
}

// globSearch prints the files that match, one a line, sorted.
func (t *tool) globSearch(ctx context.Context) error {
	globs, err := t.globs()
	if err != nil {
		return err
	}
	names, _, err := fileset.List(ctx, ci.FileSet{Dir: t.dir, Globs: globs})
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	_, err = io.WriteString(t.out, strings.Join(names, "\n")+"\n")
	return err
}

// globs are the arguments; none of the tools that take them has flags.
func (t *tool) globs() ([]string, error) {
	var globs []string
	for _, a := range t.args {
		if a == "--" {
			continue
		}
		if strings.HasPrefix(a, "-") {
			return nil, t.usage("GLOB...")
		}
		globs = append(globs, a)
	}
	if len(globs) == 0 {
		return nil, t.usage("GLOB...")
	}
	return globs, nil
}
