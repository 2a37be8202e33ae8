package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/executor/local"
)

func TestMain(m *testing.M) {
	// The test binary stands in for sluice in all of its parts.
	base := filepath.Base(os.Args[0])
	if base == local.Argv0 || strings.HasPrefix(base, "codebuild-") || (len(os.Args) > 1 && os.Args[1] == "agent") {
		main()
	}
	testscript.Main(m, map[string]func(){"sluice": main})
}

// TestScripts runs builds with the whole program on the real local executor.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SLUICE_HOME", filepath.Join(env.WorkDir, ".home"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("USER", "tester")
			env.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
			env.Setenv("GIT_AUTHOR_NAME", "T")
			env.Setenv("GIT_AUTHOR_EMAIL", "t@example.com")
			env.Setenv("GIT_COMMITTER_NAME", "T")
			env.Setenv("GIT_COMMITTER_EMAIL", "t@example.com")
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"checkevents": cmdCheckEvents,
			"gitserver":   cmdGitServer,
			"json":        cmdJSON,
			"mkfifo":      cmdMkfifo,
			"noprocess":   cmdNoProcess,
			"nowhere":     cmdNowhere,
			"resume":      cmdResume,
			"status":      cmdStatus,
			"waitfor":     cmdWaitFor,
		},
	})
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "bash":
		_, err := os.Stat("/bin/bash")
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// status N ARGS... runs sluice and wants the exit code N.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// json FILE PATH VALUE wants VALUE at PATH ("jobs.0.status") of a JSON file;
// negated, it wants nothing there.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: json FILE PATH VALUE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, part := range strings.Split(args[1], ".") {
		switch t := v.(type) {
		case map[string]any:
			v = t[part]
		case []any:
			i, err := strconv.Atoi(part)
			if part == "len" {
				v = float64(len(t))
				continue
			}
			ts.Check(err)
			if i >= len(t) {
				v = nil
				break
			}
			v = t[i]
		default:
			v = nil
		}
	}
	if neg {
		if v != nil {
			ts.Fatalf("%s of %s is %v, want nothing", args[1], args[0], v)
		}
		return
	}
	got := fmt.Sprint(v)
	if f, ok := v.(float64); ok {
		got = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if got != args[2] {
		ts.Fatalf("%s of %s is %q, want %q", args[1], args[0], got, args[2])
	}
}

// nowhere DIR TEXT wants TEXT in no file, name or link below DIR.
func cmdNowhere(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: nowhere DIR TEXT")
	}
	files := 0
	err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.Contains(d.Name(), args[1]) {
			return fmt.Errorf("%s has it in its name", path)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(args[1])) {
			err = fmt.Errorf("%s holds it", path)
		}
		return err
	})
	ts.Check(err)
	if files == 0 {
		ts.Fatalf("%s holds no files at all", args[0])
	}
}

// noprocess TEXT wants TEXT on the command line of no process; with ! of some.
func cmdNoProcess(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: noprocess TEXT")
	}
	found := ""
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	for _, name := range names {
		if name == fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			continue
		}
		if text, err := os.ReadFile(name); err == nil && bytes.Contains(text, []byte(args[0])) {
			found = name + ": " + string(bytes.ReplaceAll(text, []byte{0}, []byte(" ")))
		}
	}
	if neg != (found != "") {
		ts.Fatalf("process with %q: %q", args[0], found)
	}
}

// waitfor FILE TEXT waits until a file that another process writes has a line
// that begins with TEXT.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor FILE TEXT")
	}
	file := ts.MkAbs(args[0])
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	ts.Check(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(file), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO)
	ts.Check(err)
	buf := make([]byte, 64<<10)
	for {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(args[1])) {
			return
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
		if err == unix.EINTR {
			continue
		}
		ts.Check(err)
		if ready == 0 {
			ts.Fatalf("%s never held %q:\n%s", args[0], args[1], text)
		}
		_, err = unix.Read(fd, buf)
		ts.Check(err)
	}
}

// checkevents FILE holds every line of the file against the schema that
// 'sluice schema events' prints.
func cmdCheckEvents(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: checkevents FILE")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(eventSchema))
	ts.Check(err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	ts.Check(c.AddResource("events.json", doc))
	schema, err := c.Compile("events.json")
	ts.Check(err)
	seq, last := int64(0), ""
	for i, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n") {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		ts.Check(err)
		if err := schema.Validate(v); err != nil {
			ts.Fatalf("line %d: %v\n%s", i+1, err, line)
		}
		var e ci.Event
		ts.Check(json.Unmarshal([]byte(line), &e))
		if e.Seq != 0 && e.Seq != seq+1 {
			ts.Fatalf("line %d: event %d comes after %d", i+1, e.Seq, seq)
		}
		seq, last = max(seq, e.Seq), string(e.Type)
	}
	if last != string(ci.EventBuildFinished) {
		ts.Fatalf("the last event is %s", last)
	}
}

// resume DIR runs codebuild-resume beside the build that is paused in a sandbox
// below DIR. Its breakpoint may not have got to its gate yet, so it is looked for
// until it answers.
func cmdResume(ts *testscript.TestScript, neg bool, args []string) {
	gates, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*", "tmp", ".codebuild-breakpoint"))
	ts.Check(err)
	if neg || len(gates) != 1 {
		ts.Fatalf("want one paused build, found %q", gates)
	}
	f, err := os.OpenFile(gates[0], os.O_WRONLY, 0) // as codebuild-resume does, but it waits for the other side
	ts.Check(err)
	ts.Check(f.Close())
}

// mkfifo FILE makes a named pipe.
func cmdMkfifo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkfifo FILE")
	}
	ts.Check(unix.Mkfifo(ts.MkAbs(args[0]), 0o600))
}
