package buildtool

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const testsUsage = "--test-command COMMAND --files-search COMMAND [--sharding-strategy equal-distribution|stability]"

// shard is which part of the tests this build has: part Index (from 0) of Count.
type shard struct{ Index, Count int }

// testsRun finds the test files, takes this shard's share of them, and runs the
// test command on it.
func (t *tool) testsRun(ctx context.Context) error {
	flags := flag.NewFlagSet(t.name, flag.ContinueOnError)
	flags.SetOutput(t.err)
	flags.Usage = func() { _ = t.usage(testsUsage) }
	command := flags.String("test-command", "", "")
	search := flags.String("files-search", "", "")
	strategy := flags.String("sharding-strategy", "equal-distribution", "")
	if err := flags.Parse(t.args); err != nil {
		return errUsage
	}
	if *command == "" || *search == "" || flags.NArg() > 0 {
		return t.usage(testsUsage)
	}
	split, ok := map[string]func([]string, shard) []string{"equal-distribution": equal, "stability": stable}[*strategy]
	if !ok {
		fmt.Fprintf(t.err, "%s: sharding strategy %q: want equal-distribution or stability\n", t.name, *strategy)
		return errUsage
	}
	part, err := t.shard()
	if err != nil {
		return err
	}
	listed, err := t.output(ctx, *search)
	if err != nil {
		return fmt.Errorf("find the test files: %w", err)
	}
	files := split(distinct(strings.Fields(listed)), part)
	fmt.Fprintf(t.out, "%s: shard %d of %d has %d of the test files\n", t.name, part.Index+1, part.Count, len(files))
	if len(files) == 0 {
		return nil // more shards than files: there is nothing to do, and nothing wrong
	}
	// As arguments, not as text: Linux takes no text of 128 KiB in one piece.
	env := currentFiles + "=" + strings.Join(files, "\n")
	if len(env) >= maxString {
		fmt.Fprintf(t.err, "%s: the names of the files are too long for a variable, so %s is empty; the command gets them as arguments\n", t.name, currentFiles)
		env = currentFiles + "="
	}
	return t.start(ctx, *command+` "$@"`, os.Stdout, files, env)
}

// currentFiles is the variable that lists this shard's files, and maxString what
// Linux takes as one argument or variable (MAX_ARG_STRLEN).
const (
	currentFiles = "CODEBUILD_CURRENT_SHARD_FILES"
	maxString    = 128 << 10
)

// shard reads which share is ours; a build that is not one of a fanout has all.
func (t *tool) shard() (shard, error) {
	index, count := t.env("CODEBUILD_SHARD_INDEX"), t.env("CODEBUILD_SHARD_COUNT")
	if index == "" && count == "" {
		return shard{0, 1}, nil
	}
	i, err1 := strconv.Atoi(index)
	c, err2 := strconv.Atoi(count)
	if err := errors.Join(err1, err2); err != nil || i < 0 || i >= c {
		return shard{}, fmt.Errorf("CODEBUILD_SHARD_INDEX %q of CODEBUILD_SHARD_COUNT %q: want numbers, the index counted from 0", index, count)
	}
	return shard{i, c}, nil
}

// distinct sorts the names and drops those that come twice.
func distinct(names []string) []string {
	sort.Strings(names)
	var out []string
	for i, n := range names {
		if i == 0 || n != names[i-1] {
			out = append(out, n)
		}
	}
	return out
}

// equal cuts the sorted files into runs whose lengths differ by one at most.
func equal(files []string, s shard) []string {
	each, rest := len(files)/s.Count, len(files)%s.Count
	from := s.Index*each + min(s.Index, rest)
	n := each
	if s.Index < rest {
		n++
	}
	return files[from : from+n]
}

// stable gives each file to the shard that its name belongs to most, so that a
// file stays where it is when others come and go, and only moves when the number
// of shards changes and its new owner is one of those that came.
func stable(files []string, s shard) []string {
	var mine []string
	for _, f := range files {
		best, at := uint64(0), 0
		for i := range s.Count {
			if w := weight(f, i); i == 0 || w > best {
				best, at = w, i
			}
		}
		if at == s.Index {
			mine = append(mine, f)
		}
	}
	return mine
}

// weight is how much a file belongs to a shard: FNV-1a over both, then mixed,
// because the last bytes of FNV reach too few bits.
func weight(file string, shard int) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(file) {
		h = (h ^ uint64(file[i])) * 1099511628211
	}
	h = (h ^ uint64(shard+1)) * 1099511628211
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// output runs a script and gives what it printed.
func (t *tool) output(ctx context.Context, script string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	text := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r) // ends when the script's last process has closed the other end
		text <- b.String()
	}()
	err = t.start(ctx, script, w, nil)
	_ = w.Close()
	out := <-text
	return out, err
}

// start runs a script with arguments in the shell and waits for its end.
func (t *tool) start(ctx context.Context, script string, out *os.File, args []string, env ...string) error {
	p, err := os.StartProcess("/bin/sh", append([]string{"sh", "-c", script, "sh"}, args...), &os.ProcAttr{
		Dir: t.dir, Env: append(os.Environ(), env...), Files: []*os.File{os.Stdin, out, os.Stderr},
	})
	if err != nil {
		if errors.Is(err, syscall.E2BIG) {
			return fmt.Errorf("start the shell: the names of %d files are too long for one command: use more shards, or shorter paths: %w", len(args), err)
		}
		return fmt.Errorf("start the shell: %w", err)
	}
	undo := context.AfterFunc(ctx, func() {
		_ = p.Signal(syscall.SIGTERM)
		time.AfterFunc(5*time.Second, func() { _ = p.Kill() })
	})
	state, err := p.Wait()
	undo()
	if err != nil {
		return fmt.Errorf("wait for the shell: %w", err)
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ended(128 + int(ws.Signal()))
	}
	if !state.Success() {
		return ended(state.ExitCode())
	}
	return nil
}
