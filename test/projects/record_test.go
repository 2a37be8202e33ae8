package projects_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
)

// record is what a reader of build.json needs; written anew here, as a reader's
// program would have it, so that the fields keep their names.
type record struct {
	Status   string `json:"status"`
	Built    string `json:"buildStatus"`
	ExitCode int    `json:"exitCode"`
	Number   int    `json:"number"`
	outcome
	Jobs []struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		outcome
	} `json:"jobs"`
}

type outcome struct {
	Exported  map[string]string `json:"exportedVariables"`
	Artifacts []artifact        `json:"artifacts"`
	Tests     struct {
		Total, Succeeded, Failed, Error, Skipped int
	} `json:"tests"`
	Coverage struct {
		LinePercent float64 `json:"linePercent"`
	} `json:"coverage"`
	Reports []struct {
		Group, Format, Status string
		Problems              []string
	} `json:"reports"`
	Cache []struct {
		Action, Key, Hit, Result, Reason string
	} `json:"cache"`
	Phases []struct {
		Type   string `json:"phaseType"`
		Status string `json:"phaseStatus"`
	} `json:"phases"`
}

type artifact struct {
	ID, Name, Path, Format, SHA256 string
	Files                          int
}

// check compares one job's outcome with what the project expects of it.
func (e *expectation) check(t *testing.T, o *outcome, out string, warm bool) {
	t.Helper()
	if got := o.Tests; got.Total < e.Tests || got.Failed+got.Error > 0 || got.Succeeded+got.Skipped != got.Total {
		t.Errorf("tests: got %+v, want at least %d, none failed", got, e.Tests)
	}
	if o.Coverage.LinePercent < e.Coverage {
		t.Errorf("coverage: got %.1f %%, want at least %.1f %%", o.Coverage.LinePercent, e.Coverage)
	}
	reports := map[string]string{}
	for _, r := range o.Reports {
		reports[r.Group] = r.Format
		if r.Status != "SUCCEEDED" || len(r.Problems) > 0 {
			t.Errorf("report %s: got %s, problems %q", r.Group, r.Status, r.Problems)
		}
	}
	if !maps.Equal(reports, e.Reports) {
		t.Errorf("reports: got %v, want %v", reports, e.Reports)
	}
	for name, part := range e.Exports {
		if got := o.Exported[name]; !strings.Contains(got, part) {
			t.Errorf("exported %s: got %q, want one with %q in it", name, got, part)
		}
	}
	for _, p := range o.Phases {
		if p.Status != "SUCCEEDED" {
			t.Errorf("phase %s: got %s, want SUCCEEDED", p.Type, p.Status)
		}
	}
	e.checkArtifacts(t, o.Artifacts, out)
	e.checkCache(t, o, warm)
}

// checkCache wants a miss and a save at first; then a hit, and for a keyed cache
// no second save, as entries are immutable.
func (e *expectation) checkCache(t *testing.T, o *outcome, warm bool) {
	t.Helper()
	want := []string{"restore miss", "save saved"}
	switch {
	case warm && e.Cache == "keyed":
		want = []string{"restore hit", "save exists"}
	case warm:
		want = []string{"restore hit", "save saved"}
	}
	var got []string
	for _, c := range o.Cache {
		got = append(got, c.Action+" "+c.Result)
	}
	if !slices.Equal(got, want) {
		t.Errorf("cache: got %q, want %q (%+v)", got, want, o.Cache)
	}
}

// checkArtifacts wants exactly the expected artifacts, each with the files that
// were expected and no others, and with bytes that have the stated SHA-256.
func (e *expectation) checkArtifacts(t *testing.T, all []artifact, out string) {
	t.Helper()
	var ids []string
	for _, a := range all {
		ids = append(ids, a.ID)
		files, sum := contents(t, filepath.Join(out, a.Path), a.Format)
		if sum != a.SHA256 {
			t.Errorf("artifact %q: its SHA-256 is %s, build.json says %s", a.ID, sum, a.SHA256)
		}
		if len(files) != a.Files {
			t.Errorf("artifact %q: it has %d files, build.json says %d", a.ID, len(files), a.Files)
		}
		used := map[string]bool{}
		for _, glob := range e.Artifacts[a.ID] {
			n := len(used)
			for _, f := range files {
				if ok, _ := doublestar.Match(glob, f); ok {
					used[f] = true
				}
			}
			if len(used) == n {
				t.Errorf("artifact %q: nothing is %q in %q", a.ID, glob, files)
			}
		}
	}
	want := slices.Sorted(maps.Keys(e.Artifacts))
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		t.Errorf("artifacts: got %q, want %q", ids, want)
	}
}

// contents lists an artifact's files and computes its SHA-256: of the ZIP file, or
// of a folder's sorted "sha256  path" lines.
func contents(t *testing.T, path, format string) (files []string, sum string) {
	t.Helper()
	if format == "zip" {
		return zipContents(t, path)
	}
	lines := map[string]string{}
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		s, err := sumOf(p)
		lines[filepath.ToSlash(name)] = s
		return err
	})
	if err != nil {
		t.Fatalf("read artifact: %v", err)
	}
	h := sha256.New()
	files = slices.Sorted(maps.Keys(lines))
	for _, name := range files {
		fmt.Fprintf(h, "%s  %s\n", lines[name], name)
	}
	return files, hex.EncodeToString(h.Sum(nil))
}

func zipContents(t *testing.T, path string) (files []string, sum string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read artifact: %v", err)
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("artifact %s: %v", path, err)
	}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatalf("artifact %s: %s: %v", path, f.Name, err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil { // checks the CRC
			t.Errorf("artifact %s: %s: %v", path, f.Name, err)
		}
		r.Close()
		files = append(files, f.Name)
	}
	s := sha256.Sum256(data)
	return files, hex.EncodeToString(s[:])
}
