// Package projects_test builds open-source projects, as their users would, with
// the real binary on the real executors. Each folder holds a buildspec.yml and a
// project.json, which says where the project comes from and what its build must
// bring forth. Nothing of the projects themselves is kept here: they are fetched
// by name from the package registries and checked against their SHA-256.
package projects_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// project is a project.json.
type project struct {
	dir      string
	Registry string   // go, pypi, npm, maven, crates, debian
	Name     string   // as that registry knows it
	Version  string   // pinned
	SHA256   string   // of the archive that the registry gives
	Needs    []string // programs that the host must have for the local executor
	Expect   expectation
}

// expectation is what every build of the project must show.
type expectation struct {
	Jobs      int                 // of a batch; 0 = not a batch
	Tests     int                 // at least so many in each job, none of them failed
	Reports   map[string]string   // format by group
	Coverage  float64             // at least so many per cent of lines; 0 = none is measured
	Artifacts map[string][]string // globs by artifact; all must match and all files be matched
	Cache     string              // keyed: saved once; unkeyed: saved after every build
	Exports   map[string]string   // exported variables, and what their values contain
}

// manifests reads every project.json beside the tests.
func manifests(t *testing.T) []project {
	t.Helper()
	files, err := filepath.Glob("*/project.json")
	if err != nil {
		t.Fatal(err)
	}
	all := make([]project, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&all[i]); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[i].dir = filepath.Dir(file)
	}
	return all
}

// TestManifests holds the collection to what it is for, so that it cannot shrink
// unseen, and every expectation to something that a build could fail.
func TestManifests(t *testing.T) {
	t.Parallel()
	all := manifests(t)
	registries := map[string]int{}
	coverage, keyed, batches := 0, 0, 0
	for _, p := range all {
		registries[p.Registry]++
		if p.Expect.Tests == 0 || len(p.Expect.Reports) == 0 || len(p.Expect.Artifacts) == 0 || len(p.SHA256) != 64 {
			t.Errorf("%s: project.json does not say enough: tests, reports, artifacts and sha256 are needed", p.dir)
		}
		if p.Expect.Coverage > 0 {
			coverage++
		}
		switch p.Expect.Cache {
		case "keyed":
			keyed++
		case "unkeyed":
		default:
			t.Errorf("%s: cache is %q, want keyed or unkeyed", p.dir, p.Expect.Cache)
		}
		if p.Expect.Jobs > 0 {
			batches++
		}
	}
	if len(all) < 14 || len(registries) < 6 {
		t.Errorf("%d projects of %d registries, want at least 14 of 6", len(all), len(registries))
	}
	if coverage < 5 || keyed < 5 || len(all)-keyed < 5 || batches < 1 {
		t.Errorf("%d with coverage, %d keyed and %d unkeyed caches, %d batches: too few of a kind", coverage, keyed, len(all)-keyed, batches)
	}
}
