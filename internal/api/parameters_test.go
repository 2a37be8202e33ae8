package api_test

import (
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

func TestParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("app", "phases: {build: {commands: ['echo \"$TARGET|$DRY|$NOTE\"']}}")
	p.Parameters = []client.Parameter{
		{Name: "TARGET", Type: "choice", Choices: []string{"test", "live"}, Description: "where to"},
		{Name: "DRY", Type: "boolean", Default: "yes"}, {Name: "NOTE", Type: "text"}, {Name: "WHO", Required: true}, {Name: "KEY", Type: "password"},
	}
	p = w.update(p)
	start := func(values map[string]string) (client.Build, error) {
		b, _, err := w.admin.StartBuild(t.Context(), "app", client.StartBuild{Parameters: values})
		return b, err
	}
	b, err := start(map[string]string{"WHO": "me", "TARGET": "live", "NOTE": "a\nb"})
	if err != nil {
		t.Fatal(err)
	}
	w.done("app", b.Number)
	if got := w.readLog("app", b.Number, client.LogOptions{}); got != "live|true|a\nb\n" {
		t.Errorf("got %q", got)
	}
	b, err = start(map[string]string{"WHO": "me", "DRY": "0", "KEY": "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range w.done("app", b.Number).Variables {
		if v.Name == "KEY" && (v.Kind != "SECRET" || v.Value == "hunter2") {
			t.Errorf("got %+v", v)
		}
	}
	_, err = start(map[string]string{"WHO": "a\nb", "TARGET": "prod", "DRY": "maybe", "OTHER": "x", "a b": "x"})
	e := wantError(t, err, 422, "invalid", "")
	for _, want := range []string{
		"body.parameters.WHO: want one line", `body.parameters.TARGET: "prod": want one of test, live`, `body.parameters.DRY: "maybe": want true or false`,
		"body.parameters.OTHER: the project has no such parameter: it has TARGET, DRY, NOTE, WHO, KEY", `body.parameters."a b"`,
	} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("%v lacks %q", e, want)
		}
	}
	_, err = start(nil)
	wantError(t, err, 422, "invalid", "body.parameters.WHO: is missing")
	_, _, err = w.admin.StartBuild(t.Context(), "app", client.StartBuild{Parameters: map[string]string{"WHO": "x"}, Variables: []client.Variable{{Name: "DRY", Value: "1"}}})
	wantError(t, err, 422, "invalid", "body.variables[0].name: DRY is a parameter of the project")

	p.Parameters = []client.Parameter{{Name: "1"}, {Name: "A", Type: "choice"}, {Name: "A", Type: "date"}, {Name: "P", Type: "password", Default: "x"},
		{Name: "C", Type: "choice", Choices: []string{"x"}, Default: "y"}, {Name: "S", Choices: []string{"x"}}}
	_, err = w.admin.UpdateProject(t.Context(), p)
	e = wantError(t, err, 422, "invalid", "")
	for _, want := range []string{"parameters[0].name", "parameters[1].choices", "parameters[2].name", "parameters[2].type", "parameters[3].default", "parameters[4].default", "parameters[5].choices"} {
		if !strings.Contains(e.Error(), "body."+want+":") {
			t.Errorf("%v lacks %q", e, want)
		}
	}
}

// TestKeyIsForOneRequest refuses another request under a key that was used.
func TestKeyIsForOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("app", "phases: {build: {commands: [echo]}}")
	s := client.StartBuild{Key: "k", Variables: []client.Variable{{Name: "A", Value: "1"}}}
	first := w.start("app", s)
	if b, made, err := w.admin.StartBuild(t.Context(), "app", s); err != nil || made || b.ID != first.ID {
		t.Errorf("again: got %s, %v, %v", b.ID, made, err)
	}
	s.Variables[0].Value = "2"
	_, _, err := w.admin.StartBuild(t.Context(), "app", s)
	wantError(t, err, 409, "conflict", `key "k": build app/1 was started with it, and otherwise than now`)
}
