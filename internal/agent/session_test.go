package agent

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

// shells are those of this machine that scripts may name.
func shells(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{"sh": "sh", "bash": "bash"}
	if sh, err := exec.LookPath("dash"); err == nil {
		out["dash"] = sh
	}
	// bash under the name sh, and busybox's ash, as other images have them.
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if bash, err := exec.LookPath("bash"); err == nil && os.MkdirAll(dir+"/b", 0o755) == nil && os.Symlink(bash, dir+"/b/sh") == nil {
		out["bash as sh"] = dir + "/b/sh"
	}
	if box, err := exec.LookPath("busybox"); err == nil && os.MkdirAll(dir+"/a", 0o755) == nil && os.Symlink(box, dir+"/a/ash") == nil {
		out["busybox ash"] = dir + "/a/ash"
	}
	return out
}

func TestSession(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	for name, shell := range shells(t) {
		for _, c := range []struct {
			name  string
			steps []string // output of all together is want; a step may begin with "[code] "
			want  string
		}{
			{"directory", []string{"mkdir -p 'a b/c'; cd 'a b'", "cd c", "pwd | sed 's/.*src/src/'"}, "src/a b/c\n"},
			{"exported", []string{"export A=1 B='x y'", "echo $A $B; env | grep -c '^[AB]='"}, "1 x y\n2\n"},
			{"plain", []string{"A=1", "echo $A; env | grep -c ^A= || :"}, "1\n0\n"},
			{"plain becomes exported", []string{"A=1", "export A", "env | grep ^A="}, "A=1\n"},
			{"unset", []string{"export A=1", "unset A", "echo ${A-gone}"}, "gone\n"},
			{"quoting", []string{`A="it's
two
"; export E='$HOME "q" \n %s *'`, `printf '%s|%s|' "$A" "$E"`}, "it's\ntwo\n|$HOME \"q\" \\n %s *|"},
			{"empty", []string{"A=; export E=", `echo "[${A-no}][${E-no}]"`}, "[][]\n"},
			{"looks like the end", []string{"A='\n=sluice=\n'; export E=\"$A\"", `printf '%s' "$A$E" | wc -l`}, "4\n"},
			{"looks like an assignment", []string{"A='x\nB=evil\nexport C=evil'", `echo "${B-no}${C-no}"`}, "nono\n"},
			{"exit in the middle", []string{"[0] A=1; cd /; exit 0; A=2", "echo $A; pwd"}, "1\n/\n"},
			{"exit with failure", []string{"[3] A=1; exit 3", "echo $A"}, "1\n"},
			{"set -eux", []string{"[1] set -eux\nexport A=1\nfalse\nA=2", "case $- in *[eux]*) echo bad;; esac; echo $A"}, "?+ false\n1\n"},
			{"noclobber, noglob, IFS", []string{"set -Cf; IFS=:; A='a b'", "echo \"$A\"; set -- x:y; for i in $1; do echo $i; done"}, "?a b\n"},
			{"subshell", []string{"[5] A=1; (A=2; cd /; exit 5)", "echo $A; pwd | sed 's/.*src/src/'"}, "1\nsrc\n"},
			{"functions are lost", []string{"f() { echo f; }; cd() { :; }; pwd() { echo no; }; A=1", "echo $A; f 2>/dev/null || echo none"}, "1\nnone\n"},
			{"options are lost", []string{"set -e", "false; echo on"}, "on\n"},
			{"trap of its own", []string{"trap 'echo bye' EXIT; cd /; A=1", "pwd; echo $A"}, "bye\n/\n1\n"},
			{"trap of its own, failing", []string{"[4] trap 'echo bye' EXIT; A=1; (exit 4)", "echo $A"}, "bye\n1\n"},
			{"killed keeps the old", []string{"A=1", "[137] A=2; kill -9 $$", "echo $A"}, "1\n"},
			{"exec keeps the old", []string{"A=1", "A=2; exec true", "echo $A"}, "1\n"},
			{"syntax error", []string{"A=1", "[2] if", "echo $A"}, "?1\n"},
			{"readonly", []string{"readonly R=1", "echo $R; R=2; echo $R"}, "1\n2\n"},
			{"special names", []string{"true", "true", "true", "echo $SHLVL | grep -c ... || :"}, "?0\n"},
			{"parameters do not leak", []string{"set -- a b", "echo $#"}, "0\n"},
			{"last line is a comment", []string{"A=1 # no newline", "echo $A"}, "1\n"},
			{"here document", []string{"cat <<E\nx\nE", "A=1; trap : EXIT; cat <<E\ny\nE"}, "x\ny\n"},
			{"background", []string{"A=1; sleep 300 & B=2", "echo $A$B"}, "12\n"},
			{"closed descriptors", []string{"A=1; exec >&- 2>&-", "echo $A"}, "1\n"},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				session := t.Name()
				dir, err := os.MkdirTemp(b.dirs.Source, "src")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(dir+"/src", 0o755); err != nil {
					t.Fatal(err)
				}
				var all strings.Builder
				for _, s := range c.steps {
					code := 0
					if strings.HasPrefix(s, "[") {
						if _, err := fmt.Sscanf(s, "[%d]", &code); err == nil {
							_, s, _ = strings.Cut(s, "] ")
						}
					}
					out, x := b.run(t, ci.Command{Script: s, Shell: shell, Session: session, Dir: dir + "/src"})
					if x.Code != code && !(code == 2 && x.Code != 0) {
						t.Errorf("%q: exit %d, want %d: %s", s, x.Code, code, out)
					}
					all.WriteString(out)
				}
				got := all.String()
				if part, ok := strings.CutPrefix(c.want, "?"); ok && !strings.Contains(got, part) || !ok && got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
}

func TestSessionArrays(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	b.run(t, ci.Command{Shell: "bash", Session: "s", Script: "declare -A m=([k]='v )\n' [x]=y); l=(1 ')' \"a\nb\"); declare -i n=5; export -f x 2>/dev/null; A=$'tab\\t\\'q\\' \\001'; export E=$A"})
	out, x := b.run(t, ci.Command{Shell: "bash", Session: "s", Script: `printf '%s' "${m[k]-none}|${l[1]-none}|$n|$A|$E"`})
	if want := "none|none|5|tab\t'q' \x01|tab\t'q' \x01"; out != want || x.Code != 0 {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestSessionEnv(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	b.run(t, ci.Command{Shell: "bash", Session: "s", Env: []string{"A=1", "odd.name=keep", "B=1"}, Script: "A=2; P=3; unset B"})
	out, _ := b.run(t, ci.Command{Shell: "bash", Session: "s", Env: []string{"P=over"}, Script: `echo "$A $P ${B-unset}"; env | grep odd; env | grep ^P=`})
	if want := "2 over unset\nodd.name=keep\nP=over\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	out, _ = b.run(t, ci.Command{Env: []string{"Q=1"}, Script: `echo "${A-none} $Q"`})
	if out != "none 1\n" {
		t.Errorf("without a session: %q", out)
	}
	out, x := b.run(t, ci.Command{Session: "gone", Script: "mkdir -p d; cd d; rmdir ../d"})
	if x.Code != 0 {
		t.Fatal(out)
	}
	if out, x := b.run(t, ci.Command{Session: "gone", Script: "true"}); x.Code != 127 || !strings.Contains(out, "does not exist (any more)") {
		t.Errorf("a directory that is gone: %d %q", x.Code, out)
	}
}

// The environment of a session is that of its first command, also when that one
// left nothing behind.
func TestFirstScriptKilledLeavesItsEnvironment(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	b.run(t, ci.Command{Session: "killed", Env: []string{"GIVEN=1"}, Script: "kill -9 $$"})
	out, _ := b.run(t, ci.Command{Session: "killed", Env: []string{"MORE=2"}, Script: "echo $GIVEN $MORE"})
	if out != "1 2\n" {
		t.Errorf("got %q, want what the first command was given and what the second was", out)
	}
}

// Any value survives, in every shell, plain and exported.
func TestSessionValues(t *testing.T) {
	t.Parallel()
	b := startAgent(t)
	list := shells(t)
	var names []string
	for n := range list {
		names = append(names, n)
	}
	slices.Sort(names)
	rapid.Check(t, func(rt *rapid.T) {
		shell := list[rapid.SampledFrom(names).Draw(rt, "shell")]
		value := rapid.StringOfN(rapid.RuneFrom([]rune("ab '\"\\$`\n\t=;&|<>(){}[]*?!~#%é\x01\x7f")), 0, 30, -1).Draw(rt, "value")
		session := string(nextID())
		b.run(t, ci.Command{Shell: shell, Session: session, Env: []string{"V=" + value}, Script: `P=$V; export E="$V"; unset V`})
		out, _ := b.run(t, ci.Command{Shell: shell, Session: session, Script: `printf '%s\001%s' "$P" "$E"`})
		if out != value+"\x01"+value {
			rt.Fatalf("%s: %q came back as %q", shell, value, out)
		}
	})
}

func TestRunAs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("run-as needs root")
	}
	if _, err := user.Lookup("nobody"); err != nil {
		t.Skip("no user nobody in /etc/passwd")
	}
	b := startAgent(t)
	out, x := b.run(t, ci.Command{User: "nobody", Session: "s", Dir: "/", Script: "id -un; echo $HOME; echo e > /dev/stderr; A=1; cd /tmp; cat $0 | head -1"})
	if want := "nobody\n" + b.dirs.Home + "\ne\n#!/bin/sh\n"; strings.ReplaceAll(out, "/usr/bin/sh", "/bin/sh") != want || x.Code != 0 {
		t.Errorf("%d %q, want %q", x.Code, out, want)
	}
	for user, want := range map[string]string{"": "0 /tmp 1\n", "1234": "1234 /tmp 1\n", "1234:77": "1234 /tmp 1\n", "nobody": "65534 /tmp 1\n"} {
		if out, _ := b.run(t, ci.Command{User: user, Session: "s", Script: "echo $(id -u) $(pwd) $A"}); out != want {
			t.Errorf("as %q: %q, want %q", user, out, want)
		}
	}
	out, _ = b.run(t, ci.Command{User: "1234:77", Script: "id -g; id -G"})
	if out != "77\n77\n" {
		t.Errorf("groups: %q", out)
	}
	// One user's script is not for another.
	gate := b.dirs.Temp
	if err := os.Chmod(gate, 0o777); err != nil {
		t.Fatal(err)
	}
	out, _ = b.run(t, ci.Command{Dir: "/", Script: "chmod 700 $0; cp $0 /dev/null; stat -c %u $0; setpriv --reuid nobody --clear-groups cat $0 2>&1 | grep -c 'Permission denied'"})
	if out != "0\n1\n" {
		t.Errorf("a script of root read as nobody: %q", out)
	}
}

func FuzzState(f *testing.F) {
	for _, s := range []string{
		"A='1'\nB='x'\"'\"'y'\n=sluice=\nexport A='1'\nexport C\n=sluice=\n/tmp\n=sluice=\n",
		"A=1\nf=([0]=\"a )\" [1]=$'b\\n')\nB=$'\\x41\\101\\e'\n=sluice=\ndeclare -x B=\"q\\\"\\$\\`\"\ndeclare -ix N=\"5\"\n=sluice=\n/a\nb\n=sluice=\n",
		"A='open\n", "=sluice=\n=sluice=\n/\n=sluice=\n", "A=(\n=sluice=\n", "f ()\n{\n x\n}\nA=\\\n=sluice=",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := parseState(data)
		if err != nil {
			return
		}
		// What is handed on must come back the same.
		text := assignments(st.plain) + stateMark + "\n"
		for _, kv := range st.env {
			name, value, _ := strings.Cut(kv, "=")
			text += "export " + name + "=" + quote(value) + "\n"
		}
		again, err := parseState([]byte(text + stateMark + "\n" + st.dir + "\n" + stateMark + "\n"))
		if err != nil || again.dir != st.dir || !slices.Equal(again.env, st.env) || !slices.Equal(again.plain, st.plain) {
			t.Fatalf("%+v became %+v, %v", st, again, err)
		}
	})
}
