package executortest

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

func open(t *testing.T, s *Script, job ci.JobID) ci.Sandbox {
	t.Helper()
	b, err := s.Open(t.Context(), ci.Placement{Job: job})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func start(t *testing.T, b ci.Sandbox, c ci.Command) ci.Process {
	t.Helper()
	p, err := b.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ended(t *testing.T, p ci.Process) (string, ci.Exit) {
	t.Helper()
	r, err := p.Output(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	x, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(data), x
}

func TestScriptLanguage(t *testing.T) {
	t.Parallel()
	b := open(t, NewScript(t.TempDir()), "b/j")
	for i, c := range []struct {
		text, want string
		x          ci.Exit
	}{
		{text: "echo a b; echo 'c;  d' \"e$A\"; exit 3; echo no", want: "a b\nc;  d e1\n", x: ci.Exit{Code: 3}},
		{text: "false"}, {text: "false\ntrue"},
		{text: "nosuch x; echo on", want: "script: nosuch: not found\non\n"},
		{text: "export B=2; C=${A}x; echo $B $C", want: "2 1x\n"},
		{text: "signal terminated 15", x: ci.Exit{Code: 143, Signal: "terminated"}},
		{text: "oom", x: ci.Exit{Code: 137, Signal: "killed", OOM: true}},
		{text: "write d/f some text; cat d/f", want: "some text\n"},
		{text: "cat <<END\nx $A \"y\"\nEND\nprintf '\\0'", want: "x 1 \"y\"\n\x00"},
		{text: `if [ -n "${A+set}" ]; then printf '1%s\0' "$A"; else printf '0\0'; fi`, want: "11\x00"},
		{text: `if [ -n "${N+set}" ]; then printf '1%s\0' "$N"; else printf '0\0'; fi`, want: "0\x00"},
	} {
		if c.text == "false" {
			c.x.Code = 1
		}
		out, x := ended(t, start(t, b, ci.Command{ID: ci.StepID("b/j/BUILD/" + string(rune('a'+i))), Script: c.text, Env: []string{"A=1"}}))
		if out != c.want || x.Code != c.x.Code || x.Signal != c.x.Signal || x.OOM != c.x.OOM {
			t.Errorf("%q: %q, %+v; want %q, %+v", c.text, out, x, c.want, c.x)
		}
	}
}

func TestScriptReattachAndLose(t *testing.T) {
	t.Parallel()
	s := NewScript(t.TempDir())
	b := open(t, s, "b/j")
	if !b.Fresh() {
		t.Error("the first Open did not make it")
	}
	start(t, b, ci.Command{ID: "b/j/BUILD/0", Script: "echo one; export X=5; wait gate; echo two; exit 4", Session: "s"})
	<-s.Reached("gate")
	again := open(t, s, "b/j")
	if again.Fresh() {
		t.Error("the second Open made another")
	}
	p := start(t, again, ci.Command{ID: "b/j/BUILD/0", Script: "echo not this"})
	s.Release("gate")
	if out, x := ended(t, p); out != "one\ntwo\n" || x.Code != 4 {
		t.Errorf("re-attached: %q, %+v", out, x)
	}
	if out, _ := ended(t, start(t, again, ci.Command{ID: "b/j/BUILD/1", Script: "echo $X", Session: "s"})); out != "5\n" {
		t.Errorf("the session's variable: %q", out)
	}
	lost := start(t, again, ci.Command{ID: "b/j/BUILD/2", Script: "lose; echo no"})
	if _, err := lost.Wait(t.Context()); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Wait in a lost sandbox: %v", err)
	}
	if !open(t, s, "b/j").Fresh() {
		t.Error("Open after the loss found something")
	}
}

func TestScriptStop(t *testing.T) {
	t.Parallel()
	s := NewScript(t.TempDir())
	b := open(t, s, "b/j")
	for text, want := range map[string]string{"wait a": "terminated", "ignore; wait b": "killed"} {
		p := start(t, b, ci.Command{ID: ci.StepID("b/j/BUILD/" + text), Script: text})
		<-s.Reached(text[len(text)-1:])
		if err := p.Stop(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if _, x := ended(t, p); x.Signal != want {
			t.Errorf("%s: %+v, want %s", text, x, want)
		}
	}
}

func TestScriptFaults(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	s := NewScript(t.TempDir())
	s.Before = FailAt(2, boom)
	s.After = func(c Call) error {
		if c.Op == "usage" {
			return ErrLose
		}
		return nil
	}
	b := open(t, s, "b/j")
	if _, err := b.Start(t.Context(), ci.Command{ID: "b/j/BUILD/0"}); !errors.Is(err, boom) {
		t.Errorf("the second call: %v, want boom", err)
	}
	start(t, b, ci.Command{ID: "b/j/BUILD/0"})
	if _, err := b.Usage(t.Context()); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("the call that loses: %v", err)
	}
	if _, err := s.Open(t.Context(), ci.Placement{Job: "b/k", Runtime: ci.Runtime{Image: "fail:no such image"}}); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("Open of a failing image: %v", err)
	}
	var calls []string
	for _, c := range s.Calls() {
		calls = append(calls, c.String())
	}
	if got := strings.Join(calls, ", "); got != "open b/j, start b/j/BUILD/0, start b/j/BUILD/0, usage b/j, open b/k" {
		t.Errorf("calls: %s", got)
	}
}
