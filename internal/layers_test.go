package internal_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/sluice-ci/sluice/"

// layers is the table of ARCHITECTURE.md: a package may import packages of its
// own module only from the list in its row. A new package needs a row.
var layers = map[string][]string{
	// 1: the nouns import the standard library and nothing else.
	"internal/ci": {},
	// 1b: what a sandbox is made of; it knows the nouns.
	"internal/fileset": {"internal/ci"},
	"internal/agent":   {"internal/ci", "internal/fileset"},
	// 1b: knows nothing of Sluice.
	"internal/filelock": {},
	"internal/metric":   {},
	// 2: each knows the nouns and no sibling.
	"internal/engine":             {"internal/ci"},
	"internal/frontend/buildspec": {"internal/ci"},
	"internal/executor/local":     {"internal/ci", "internal/fileset", "internal/agent"},
	"internal/executor/docker":    {"internal/ci", "internal/fileset", "internal/agent"},
	"internal/store":              {"internal/ci", "internal/filelock"},
	"internal/blob":               {"internal/ci"},
	"internal/logs":               {"internal/ci", "internal/filelock"},
	"internal/secret":             {"internal/ci"},
	"internal/identity":           {"internal/ci"},
	"internal/notify":             {"internal/ci"},
	"internal/trace":              {"internal/ci"},
	"internal/source":             {"internal/ci", "internal/fileset"},
	"internal/report":             {"internal/ci"},
	"internal/runtimes":           {"internal/ci"},
	"internal/price":              {"internal/ci"},
	"internal/buildtool":          {"internal/ci", "internal/fileset"},
	"environments":                {},
	"internal/image":              {"internal/ci", "environments"},
	// Suites and fakes: for tests only, and only tests import them.
	"internal/executor/executortest": {"internal/ci", "internal/fileset", "internal/agent"},
	"internal/blob/blobtest":         {"internal/ci", "internal/blob"},
	"internal/store/storetest":       {"internal/ci"},
	"internal/oidc/oidctest":         {},
	"internal/auth":                  {"internal/ci"},
	"internal/oidc":                  {"internal/ci"},
	// The public Go client knows nothing of the server's packages.
	"client": {},
	// 3: what works with several of layer 2.
	"internal/app":    {"internal/ci", "internal/secret", "internal/identity", "internal/engine", "internal/store", "internal/logs", "internal/blob", "internal/oidc"},
	"internal/depot":  {"internal/ci", "internal/store", "internal/logs", "internal/blob"},
	"internal/runner": {"internal/ci", "internal/fileset", "internal/report", "internal/runtimes"},
	// 4: what translates a protocol.
	"internal/api": {"internal/ci", "internal/app", "client"},
	// 5: main sees all; nothing sees it.
	"cmd/sluice": {"*"},
	// How main shows a build and what it leaves on disk.
	"cmd/sluice/agent":             {"cmd/sluice/internal/inside"},
	"cmd/sluice/internal/inside":   {"internal/agent", "internal/buildtool", "internal/executor/local"},
	"cmd/sluice/internal/embedded": {},
	"cmd/sluice/internal/show":     {"internal/ci"},
	"cmd/sluice/internal/outdir":   {"internal/ci", "internal/filelock", "internal/report"},
}

// only lists who may import a package of the standard library or of others,
// besides tests: each has one owner, so that its dangers are looked at in one place.
var only = map[string][]string{
	"os/exec":      {"internal/agent", "internal/executor/local", "internal/executor/docker", "internal/source", "internal/image", "internal/executor/executortest", "internal/oidc/oidctest", "cmd/sluice"},
	"database/sql": {"internal/store"},
	"net/http":     {"internal/secret", "internal/notify", "internal/trace", "internal/oidc", "internal/oidc/oidctest", "internal/api", "client", "cmd/sluice"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestLayers(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(name, "test/") {
			continue // whole programs that only test and measure
		}
		allowed, ok := layers[name]
		if !ok {
			t.Errorf("%s has no row in the table of layers: say what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			if own, isOwn := strings.CutPrefix(imported, module); isOwn {
				if !contains(allowed, own) && !contains(allowed, "*") {
					t.Errorf("%s imports %s; it may import %v", name, own, allowed)
				}
			}
			if owners, guarded := only[imported]; guarded && !contains(owners, name) {
				t.Errorf("%s imports %s; only %v may", name, imported, owners)
			}
		}
	}
}

// TestDomainImportsStandardLibraryOnly holds rule 1 of ARCHITECTURE.md.
func TestDomainImportsStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		if p.ImportPath != module+"internal/ci" {
			continue
		}
		for _, imported := range p.Imports {
			if strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("internal/ci imports %s", imported)
			}
		}
	}
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if p.ImportPath != module+"internal" {
			all = append(all, p)
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// lineLimit is where a file is too long to be read at one sitting.
const lineLimit = 500

// TestFileLength keeps files readable. Generated files and test data are apart.
func TestFileLength(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "dist" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(text, []byte("\n")); n > lineLimit && !bytes.Contains(text[:min(len(text), 500)], []byte("DO NOT EDIT")) {
			t.Errorf("%s has %d lines; split it, the limit is %d", path, n, lineLimit)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoGrabBags refuses package names that say nothing about what is inside.
func TestNoGrabBags(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		switch name := p.ImportPath[strings.LastIndexByte(p.ImportPath, '/')+1:]; name {
		case "util", "utils", "common", "helper", "helpers", "manager", "types", "models", "misc", "shared":
			t.Errorf("%s: name it by what it does", p.ImportPath)
		}
	}
}
