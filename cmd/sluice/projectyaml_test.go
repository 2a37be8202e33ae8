package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/client"
)

// drawn fills a value of any type of the wire with something.
func drawn(t *rapid.T, v reflect.Value, name string) {
	if _, ok := v.Interface().(time.Duration); ok {
		v.SetInt(int64(time.Millisecond) * rapid.Int64Range(0, 1e8).Draw(t, name))
		return
	}
	words := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"yes", "1", "null", "~", "a: b", "- x", "# no", "a\nb\n", "  two\n lines", "'", `"`, "*a", "&a", "!t", "{", "%x", "1e3", "0x1", "\t", "2026-01-01", "<<"}))
	switch v.Kind() {
	case reflect.String:
		v.SetString(strings.ToValidUTF8(words.Draw(t, name), ""))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(0, 1<<40).Draw(t, name))
	case reflect.Float64:
		v.SetFloat(rapid.Float64Range(0, 1e6).Draw(t, name))
	case reflect.Slice:
		if n := rapid.IntRange(0, 3).Draw(t, name); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				drawn(t, v.Index(i), name)
			}
		}
	case reflect.Map:
		for range rapid.IntRange(0, 3).Draw(t, name) {
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			item := reflect.New(v.Type().Elem()).Elem()
			drawn(t, item, name)
			v.SetMapIndex(reflect.ValueOf(strings.ToValidUTF8(words.Draw(t, name), "")), item)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, name) {
			v.Set(reflect.New(v.Type().Elem()))
			drawn(t, v.Elem(), name)
		}
	case reflect.Struct:
		for _, i := range wireFields(v.Type()) {
			drawn(t, v.Field(i), v.Type().Field(i).Name)
		}
	}
}

// TestProjectsRoundTrip writes any project and reads it back.
func TestProjectsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p client.Project
		drawn(t, reflect.ValueOf(&p).Elem(), "project")
		p.Name = "app"
		text, err := writeProject(p)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := readProjects("f", text)
		if err != nil || len(docs) != 1 {
			t.Fatalf("%v in\n%s", err, text)
		}
		again, err := writeProject(docs[0].project)
		if err != nil || string(again) != string(text) {
			t.Fatalf("got\n%s\nwant\n%s", again, text)
		}
		if !reflect.DeepEqual(docs[0].project, p) && !sameButEmpty(docs[0].project, p) {
			t.Fatalf("got %+v\nwant %+v", docs[0].project, p)
		}
	})
}

// sameButEmpty takes a list or a struct that is empty for one that is not there.
func sameButEmpty(a, b client.Project) bool {
	one, _ := writeProject(a)
	other, _ := writeProject(b)
	return string(one) == string(other)
}

func TestReadProjectsSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := readProjects("p.yml", []byte(`name: app
sorce: {type: git}
limits: {timeout: soon, builds: many, autoRetry: 1.5}
variables: {A: 1}
batch: perhaps
runtime: {memory: 2g, memory: 1}
parameters:
- {name: X, choices: a}
---
- a list
---
description: no name
---
name: app
`))
	if err == nil {
		t.Fatal("nothing is wrong?")
	}
	for _, want := range []string{
		`p.yml:2:1: there is no field "sorce", did you mean "source"?`, "p.yml:3:19: limits.timeout: want a time", "p.yml:3:33: limits.builds: want a whole number",
		"p.yml:3:50: limits.autoRetry: want a whole number", "p.yml:4:12: variables: want a list", "p.yml:5:8: batch: want true or false",
		`p.yml:6:23: runtime: "memory" is at line 6 already`, "p.yml:8:22: parameters[0].choices: want a list", "p.yml:10:1: want fields",
		"p.yml:12:1: name: is missing", `p.yml:14:1: name: project "app" is at line 1 already`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q:\n%v", want, err)
		}
	}
	for text, want := range map[string]string{"": "no project in it", "a: [": "p.yml:", "after: &a [*a]\nname: x": "after[0]: want one value", "name: x\nrevision: 3": `no field "revision"`} {
		if _, err := readProjects("p.yml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzReadProjects(f *testing.F) {
	f.Add("name: app\nlimits: {timeout: 1h}\n---\nname: b\n")
	f.Add("a: &a [*a, *a]\n<<: *a")
	f.Add("name: |\n  x\ntags: {1: 2, ? [a] : b}\nafter: [!!binary aGVsbG8=]")
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := readProjects("f", []byte(text))
		if err != nil {
			return
		}
		for _, d := range docs {
			once, err := writeProject(d.project)
			if err != nil {
				t.Fatal(err)
			}
			again, err := readProjects("g", once)
			if err != nil || len(again) != 1 {
				t.Fatalf("what was written cannot be read: %v\n%s", err, once)
			}
		}
	})
}

// TestProjectApply takes projects out of a server and puts them into another.
func TestProjectApply(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	file := filepath.Join(t.TempDir(), "projects.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`name: site
source: {type: git, location: "https://git.example.com/site.git"}
after: [lib]
limits: {timeout: 1h30m, autoRetry: 2}
runtime: {memory: 2g}
tags: {team: web}
inline: |
  version: 0.2
  phases: {build: {commands: [make]}}
---
name: lib
source: {type: upload}
variables: [{name: A, value: "yes"}]
parameters: [{name: T, type: choice, choices: [x, "1"]}]
`)
	if out := s.must("project", "apply", "-f", file, "--dry-run"); !strings.Contains(out, "would create project lib\n+ name: lib") || strings.Contains(s.must("project", "list", "--json"), "lib") {
		t.Errorf("dry run: %s", out)
	}
	if out := s.must("project", "apply", "-f", file); out != "created project lib\ncreated project site\n" {
		t.Errorf("got %q", out)
	}
	exported := s.must("project", "export")
	if out := s.must("project", "export", "site"); !strings.Contains(out, "timeout: 1h30m") || strings.Contains(out, "revision") || !strings.Contains(exported, out) {
		t.Errorf("got %s", out)
	}
	write(exported)
	if out := s.must("project", "apply", "-f", file); out != "unchanged project lib\nunchanged project site\n" {
		t.Errorf("applied again: %q", out)
	}
	write(strings.Replace(exported, "autoRetry: 2", "autoRetry: 3", 1))
	if out := s.must("project", "apply", "-f", file, "--dry-run"); !strings.Contains(out, "would update project site\n") || !strings.Contains(out, "-   autoRetry: 2\n+   autoRetry: 3\n") {
		t.Errorf("got %s", out)
	}
	s.must("project", "apply", "-f", file)
	write("name: bad\nsource: {type: ftp, location: x}\nlimits:\n  autoRetry: 11\n---\nname: good\nsource: {type: upload}\n")
	_, errs, code := s.run("project", "apply", "-f", file)
	if code != exitUsage || !strings.Contains(errs, file+":2:16: source.type: ") || !strings.Contains(errs, file+":4:14: limits.autoRetry: ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	s.must("project", "show", "good")

	s.must("project", "update", "site", "--image", "golang:1.26", "--env", "B=2", "--tag", "team=", "--tag", "x=y", "--after", "", "--supersede", "all")
	p, err := s.client().Project(t.Context(), "site")
	if err != nil || p.Runtime.Image != "golang:1.26" || p.Runtime.Memory != 2<<30 || len(p.Variables) != 1 || len(p.Tags) != 1 || p.Tags["x"] != "y" || len(p.After) != 0 ||
		p.Limits.Supersede != "all" || p.Limits.AutoRetry != 3 || p.Inline == "" {
		t.Errorf("got %+v, %v", p, err)
	}
	s.must("project", "update", "site", "--supersede", "none", "--drop-env", "B")
	if p, err := s.client().Project(t.Context(), "site"); err != nil || p.Limits.Supersede != "" || len(p.Variables) != 0 {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, errs, code := s.run("project", "update", "site", "--drop-env", "NO", "--supersede", "some", "--tag", "x"); code != exitUsage ||
		!strings.Contains(errs, "--drop-env NO") || !strings.Contains(errs, "--supersede") || !strings.Contains(errs, "--tag") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
