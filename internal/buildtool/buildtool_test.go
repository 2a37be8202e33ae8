package buildtool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMain lets the test binary be a tool, as the sluice binary is.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); slices.Contains(Names(), name) {
		os.Exit(Main(name, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// call runs a tool in dir, in this process.
func call(t *testing.T, dir string, env map[string]string, name string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	tool := &tool{name: name, args: args, dir: dir, env: func(n string) string { return env[n] }, out: &o, err: &e}
	code = tool.run(context.Background())
	return code, o.String(), e.String()
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestHashFiles(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"b.lock": "two", "a.lock": "one", "sub/c.lock": "three", "other": "x"})
	code, out, _ := call(t, dir, nil, "codebuild-hash-files", "**/*.lock")
	if want := fmt.Sprintf("%x\n", sha256.Sum256([]byte("onetwothree"))); code != 0 || out != want {
		t.Errorf("got %d %q, want %q", code, out, want)
	}
	code, again, _ := call(t, dir, nil, "codebuild-hash-files", "sub/*.lock", "*.lock")
	if code != 0 || again != out {
		t.Errorf("the same files by other globs: got %d %q, want %q", code, again, out)
	}
	// No key at all is better than one that is the same for everything.
	code, out, errOut := call(t, dir, nil, "codebuild-hash-files", "*.none")
	if code != 1 || out != "" || !strings.Contains(errOut, "no file matches *.none") {
		t.Errorf("nothing matched: got %d %q %q", code, out, errOut)
	}
	if code, _, errOut := call(t, dir, nil, "codebuild-hash-files"); code != 2 || !strings.Contains(errOut, "usage: codebuild-hash-files GLOB...") {
		t.Errorf("without globs: got %d %q", code, errOut)
	}
	if code, _, _ := call(t, dir, nil, "codebuild-hash-files", "--help"); code != 2 {
		t.Errorf("a flag: got %d", code)
	}
}

func TestGlobSearch(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"z_test.go": "", "a_test.go": "", "sub/m_test.go": "", "main.go": ""})
	code, out, _ := call(t, dir, nil, "codebuild-glob-search", "**/*_test.go")
	if want := "a_test.go\nsub/m_test.go\nz_test.go\n"; code != 0 || out != want {
		t.Errorf("got %d %q, want %q", code, out, want)
	}
	if code, out, _ := call(t, dir, nil, "codebuild-glob-search", "*.py"); code != 0 || out != "" {
		t.Errorf("nothing matched: got %d %q", code, out)
	}
}

// TestTestsRun runs the real tool with a real shell, as a build does.
func TestTestsRun(t *testing.T) {
	t.Parallel()
	run := func(code int, env []string, args ...string) string {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.StartProcess("/proc/self/exe", append([]string{"codebuild-tests-run"}, args...), &os.ProcAttr{
			Dir: t.TempDir(), Env: append(os.Environ(), env...), Files: []*os.File{nil, w, w}})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		var out bytes.Buffer
		if _, err := out.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		state, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if state.ExitCode() != code {
			t.Errorf("%q: exit code %d, want %d:\n%s", args, state.ExitCode(), code, out.String())
		}
		return out.String()
	}
	search := "printf '%s\\n' c a \"d'e\" b a"
	all := run(0, nil, "--files-search", search, "--test-command", `printf '<%s>' "$CODEBUILD_CURRENT_SHARD_FILES"; echo ran`)
	if want := "<a\nb\nc\nd'e>ran a b c d'e\n"; !strings.HasSuffix(all, want) {
		t.Errorf("got %q, want it to end in %q", all, want)
	}
	second := run(0, []string{"CODEBUILD_SHARD_INDEX=1", "CODEBUILD_SHARD_COUNT=2"}, "--files-search", search, "--test-command", "echo ran")
	if !strings.HasSuffix(second, "ran c d'e\n") {
		t.Errorf("second of two: got %q", second)
	}
	if out := run(0, []string{"CODEBUILD_SHARD_INDEX=8", "CODEBUILD_SHARD_COUNT=9"}, "--files-search", search, "--test-command", "exit 1"); !strings.Contains(out, "has 0 of the test files") {
		t.Errorf("more shards than files: got %q", out)
	}
	odd := run(0, nil, "--files-search", `echo '$x;' "[a]*" '"' "d'e"`, "--test-command", `printf '<%s>'`)
	if want := `<"><$x;><[a]*><d'e>`; !strings.HasSuffix(odd, want) {
		t.Errorf("got %q, want it to end in %q", odd, want)
	}
	many := "i=10000; while [ $i -lt 14000 ]; do echo a/rather/long/path/to/a/file/of/tests/number/$i.test.js; i=$((i+1)); done"
	if out := run(0, nil, "--files-search", many, "--test-command", `sh -c 'echo "$# files"' sh`); !strings.Contains(out, "4000 files") || !strings.Contains(out, "is empty") {
		t.Errorf("more names than fit into one argument: got %.300q", out)
	}
	run(7, nil, "--files-search", search, "--test-command", "sh -c 'exit 7'")
	run(4, nil, "--files-search", "exit 4", "--test-command", "true")
	run(2, nil, "--files-search", search)
	run(2, nil, "--files-search", search, "--test-command", "true", "--sharding-strategy", "random")
	run(1, []string{"CODEBUILD_SHARD_INDEX=3", "CODEBUILD_SHARD_COUNT=3"}, "--files-search", search, "--test-command", "true")
	run(137, nil, "--files-search", search, "--test-command", "kill -9 $$;")
}

// TestSharding: each file is in one shard and one only, whatever the strategy.
func TestSharding(t *testing.T) {
	t.Parallel()
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z/]{1,12}`), 0, 60, rapid.ID)
	rapid.Check(t, func(t *rapid.T) {
		files := distinct(names.Draw(t, "files"))
		count := rapid.IntRange(1, 12).Draw(t, "count")
		for kind, split := range map[string]func([]string, shard) []string{"equal": equal, "stable": stable} {
			var all []string
			least, most := len(files), 0
			for i := range count {
				part := split(files, shard{i, count})
				all = append(all, part...)
				least, most = min(least, len(part)), max(most, len(part))
			}
			if kind == "equal" && most-least > 1 {
				t.Fatalf("shards of %d to %d files", least, most)
			}
			if slices.Sort(all); !slices.Equal(all, files) {
				t.Fatalf("%s: got %q, want %q", kind, all, files)
			}
		}
	})
}

// TestStability: a file that comes or goes moves no other.
func TestStability(t *testing.T) {
	t.Parallel()
	var files []string
	for i := range 200 {
		files = append(files, fmt.Sprintf("test/%03d_test.go", i))
	}
	const count = 5
	for i := range count {
		whole := stable(files, shard{i, count})
		if len(whole) < 20 || len(whole) > 60 {
			t.Errorf("shard %d has %d of 200 files: not even by far", i, len(whole))
		}
		less := stable(files[1:], shard{i, count})
		if want := slices.DeleteFunc(slices.Clone(whole), func(f string) bool { return f == files[0] }); !slices.Equal(less, want) {
			t.Errorf("shard %d changed when another file went", i)
		}
		// One shard more takes from each, and gives to none.
		for _, f := range stable(files, shard{i, count + 1}) {
			if !slices.Contains(whole, f) {
				t.Errorf("%s moved between old shards", f)
			}
		}
	}
}

func TestBreakpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"codebuild-breakpoint", "codebuild-resume"} {
		if code, out, _ := call(t, dir, map[string]string{"TMPDIR": dir}, name); code != 0 || !strings.Contains(out, "no debug session") {
			t.Errorf("%s outside a debug session: got %d %q", name, code, out)
		}
	}
	env := map[string]string{"TMPDIR": dir, debugVariable: "01build/build"}
	if code, out, _ := call(t, dir, env, "codebuild-resume"); code != 0 || !strings.Contains(out, "not paused") {
		t.Errorf("resume of what is not paused: got %d %q", code, out)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	paused := &tool{name: "codebuild-breakpoint", dir: dir, env: func(n string) string { return env[n] }, out: w, err: w}
	ended := make(chan int)
	go func() { ended <- paused.run(context.Background()) }()
	buf := make([]byte, 4096)
	n, err := r.Read(buf) // what it says comes after its gate is there
	if err != nil || !strings.Contains(string(buf[:n]), "sluice shell 01build/build") {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	for resumed := false; !resumed; { // until it stands at the gate
		code, out, errOut := call(t, dir, env, "codebuild-resume")
		if code != 0 {
			t.Fatalf("resume: %d %s", code, errOut)
		}
		resumed = strings.Contains(out, "goes on")
	}
	if code := <-ended; code != 0 {
		t.Errorf("breakpoint ended with %d", code)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left behind", left)
	}
}
