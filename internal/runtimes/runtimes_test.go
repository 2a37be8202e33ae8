package runtimes

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

// sample has every shape that the curated images' files have had over the years.
const sample = `version: 0.1

runtimes:
  android:
    versions:
      28:
        requires:
          java: ["openjdk8"]
        commands:
          - echo "android 28"
      29:
        requires:
          java: openjdk8
          golang:
        commands:
          - echo "android 29"
  java:
    versions:
      corretto11:
        commands:
          - export JAVA_HOME="$JAVA_11_HOME"
          - |-
            for t in "$JAVA_HOME"/bin/*;
             do echo $t;
            done
      corretto8:
        commands: [export JAVA_HOME="$JAVA_8_HOME"]
      corretto17: {commands: [echo 17]}
  golang:
    versions:
      1.9: {commands: [echo go 1.9]}
      1.20: {commands: [echo go 1.20]}
      1.3:
  python:
    versions:
      3.9: {commands: [echo py 3.9]}
      3.10: {commands: [echo py 3.10]}
  nodejs:
    versions:
      20:
        commands: [n $NODE_20_VERSION]
      default:
        commands:
          - echo "custom $VERSION ${VERSION} $VERSION_ID"
          - n $VERSION
  circle:
    versions:
      1: {requires: {round: ["1"]}, commands: [echo circle]}
  round:
    versions:
      1: {requires: {circle: ["1"]}, commands: [echo round]}
  needy:
    versions:
      1: {requires: {cobol: [85]}}
`

func want(pairs ...string) []ci.RuntimeVersion {
	var out []ci.RuntimeVersion
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, ci.RuntimeVersion{Name: pairs[i], Version: pairs[i+1], Pos: ci.Pos{File: "buildspec.yml", Line: 5 + i/2, Col: 7}})
	}
	return out
}

func env(name string) (string, bool) {
	v, ok := map[string]string{"PY": "3.x", "EMPTY": "", "EVIL": "20; rm -rf /"}[name]
	return v, ok
}

func TestSelect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		wanted []ci.RuntimeVersion
		got    string // name=version of what is selected, in order
		says   []string
	}{
		{"exact", want("python", "3.9"), "python=3.9", []string{"Selecting 'python' runtime version '3.9' based on manual selections..."}},
		{"text not number", want("python", "3.10"), "python=3.10", nil},
		{"wildcard is the newest, not the last or the biggest text", want("golang", "1.x"), "golang=1.20", []string{"Selecting 'golang' runtime version '1.x' based on manual selections..."}},
		{"latest", want("java", "latest"), "java=corretto17", nil},
		{"major wildcard of one", want("nodejs", "20.x"), "nodejs=20", nil},
		{"vendor wildcard", want("java", "corretto8.x"), "java=corretto8", nil},
		{"variable", want("python", "$PY"), "python=3.10", nil},
		{"variable in braces", want("python", "${PY}"), "python=3.10", nil},
		{"other vendor", want("java", "openjdk11"), "java=corretto11", []string{"java: 'openjdk11' is not in this image; 'corretto11' stands in for it (same Java version, another vendor)"}},
		{"custom", want("nodejs", "18.19.1"), "nodejs=18.19.1", nil},
		{"dependency first", want("android", "28"), "java=corretto8 android=28", []string{"Selecting 'java' runtime version 'openjdk8' as android '28' requires it..."}},
		{"dependency of any version", want("android", "29"), "java=corretto8 golang=1.20 android=29", nil},
		{"dependency asked for too", want("android", "28", "java", "corretto8"), "java=corretto8 android=28", nil},
		{"circle ends", want("circle", "1"), "round=1 circle=1", nil},
		{"no commands", want("golang", "1.3"), "golang=1.3", nil},
		{"none", nil, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sel, err := Select([]byte(sample), c.wanted, env)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range sel.Versions() {
				got = append(got, v.Name+"="+v.Version)
			}
			if s := strings.Join(got, " "); s != c.got {
				t.Errorf("selected %q, want %q", s, c.got)
			}
			for _, line := range c.says {
				if !slices.Contains(sel.Lines, line) {
					t.Errorf("lines %q lack %q", sel.Lines, line)
				}
			}
		})
	}
}

func TestSelectRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		wanted []ci.RuntimeVersion
		err    string
	}{
		{"version", want("python", "2.7"), "buildspec.yml:5:7: error: Unknown runtime version named '2.7' of python. This build image has the following versions: 3.9, 3.10"},
		{"wildcard", want("golang", "2.x"), "buildspec.yml:5:7: error: Unknown runtime version named '2.x' of golang. This build image has the following versions: 1.3, 1.9, 1.20"},
		{"runtime", want("docker", "19"), "buildspec.yml:5:7: error: Unknown runtime named 'docker'. This build image has the following runtimes: android, circle, golang, java, needy, nodejs, python, round"},
		{"jdk number", want("java", "openjdk7"), "buildspec.yml:5:7: error: Unknown runtime version named 'openjdk7' of java. This build image has the following versions: corretto8, corretto11, corretto17"},
		{"conflict", want("android", "28", "java", "openjdk11"), "buildspec.yml:5:7: error: Conflicting runtime versions: android '28' requires java 'openjdk8', but 'openjdk11' is selected. Change or remove one of the two in runtime-versions"},
		{"requires what is not there", want("needy", "1"), "buildspec.yml:5:7: error: needy '1' requires cobol '85', which this build image does not have"},
		{"unset", want("python", "$NOPE"), "buildspec.yml:5:7: error: runtime-versions: python: the variable NOPE is not set; set it in env.variables or with --env NOPE=VERSION"},
		{"empty", want("python", "$EMPTY"), "buildspec.yml:5:7: error: runtime-versions: python: the variable EMPTY is not set; set it in env.variables or with --env EMPTY=VERSION"},
		{"brace", want("python", "${PY"), `buildspec.yml:5:7: error: runtime-versions: python: "${PY" lacks its closing brace`},
		{"a command in a custom version", want("nodejs", "$EVIL"), "buildspec.yml:5:7: error: Unknown runtime version named '20; rm -rf /' of nodejs. This build image has the following versions: 20"},
		{"all at once", want("python", "2.7", "cobol", "85"), "buildspec.yml:5:7: error: Unknown runtime version named '2.7' of python. This build image has the following versions: 3.9, 3.10\n" +
			"buildspec.yml:6:7: error: Unknown runtime named 'cobol'. This build image has the following runtimes: android, circle, golang, java, needy, nodejs, python, round"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sel, err := Select([]byte(sample), c.wanted, env)
			var problems ci.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error %v, want ci.Problems", err)
			}
			if err.Error() != c.err {
				t.Errorf("got  %s\nwant %s", err, c.err)
			}
			if len(sel.Runtimes) > 0 {
				t.Errorf("selected %v despite the problems", sel.Runtimes)
			}
		})
	}
}

func TestCustomCommands(t *testing.T) {
	t.Parallel()
	sel, err := Select([]byte(sample), want("nodejs", "18.19"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(sel.Commands(), "\n")
	if w := "echo \"custom 18.19 18.19 $VERSION_ID\"\nn 18.19"; got != w {
		t.Errorf("commands %q, want %q", got, w)
	}
}

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for text, w := range map[string]string{
		"":                              "empty",
		"version: 0.2":                  `runtimes.yml:1: version "0.2" is not known`,
		"- a":                           "want a map",
		"runtimes: [a]":                 "runtimes.yml:1: runtimes: want a map",
		"runtimes: {go: {versions: 3}}": "go.versions: want a map",
		"runtimes:\n  go:\n    versions:\n      1: {commands: {a: b}}":     "runtimes.yml:4: go.1.commands: want a list of strings",
		"runtimes:\n  go:\n  go:\n":                                        `runtimes.yml:3: runtimes: "go" is there twice`,
		"runtimes: {a: [":                                                  "runtimes.yml",
		"version: 0.1\nruntimes: {go: {versions: {1: {commands: [[a]]}}}}": "want a string",
		strings.Repeat("#", maxSize+1):                                     "at most",
	} {
		_, err := Parse([]byte(text))
		if !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), w) {
			t.Errorf("%.40q: error %v, want ErrInvalid with %q", text, err, w)
		}
	}
}

// TestNewest: whatever the versions, latest is one of them and none is newer.
func TestNewest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`(corretto)?[1-9][0-9]?(\.[0-9]{1,2})?`), 1, 8, rapid.ID).Draw(t, "names")
		r := Runtime{Name: "x"}
		for _, n := range names {
			r.Versions = append(r.Versions, Version{Name: n})
		}
		got, _, ok := r.match("latest")
		if !ok {
			t.Fatal("no latest")
		}
		if sorted := r.names(); sorted[len(sorted)-1] != got.Name {
			t.Fatalf("latest of %q is %q", sorted, got.Name)
		}
		for _, n := range names {
			if v, note, ok := r.match(n); !ok || v.Name != n || note != "" {
				t.Fatalf("%q exactly gave %q (%s)", n, v.Name, note)
			}
		}
	})
}

func FuzzSelect(f *testing.F) {
	f.Add(sample, "android", "28")
	f.Add(sample, "nodejs", "18.1")
	f.Add("runtimes: &a {go: *a}", "go", "1")
	f.Add("runtimes: {go: {versions: {default: {commands: ['x $VERSION $']}}}}", "go", "corretto1")
	f.Add("a: &a [*a]\nruntimes: *a", "go", "latest")
	f.Fuzz(func(t *testing.T, text, name, version string) {
		sel, err := Select([]byte(text), want(name, version), env)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Fatalf("error %v is not ErrInvalid", err)
			}
			return
		}
		if len(sel.Runtimes) == 0 {
			t.Fatal("no error and nothing selected")
		}
		if last := sel.Runtimes[len(sel.Runtimes)-1]; last.Name != name && !strings.Contains(text, "requires") {
			t.Fatalf("asked for %q, got %q", name, last.Name)
		}
	})
}
