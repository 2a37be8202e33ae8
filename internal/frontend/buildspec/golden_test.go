package buildspec

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/sluice-ci/sluice/internal/ci"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// goldenCase is one testdata/*.txtar. Its comment may hold lines of settings:
// "batch", "param NAME=VALUE", "schema: blind" (the JSON Schema cannot see what
// is wrong). Its first file is the definition; plan.json, problems.txt and
// lint.txt are what is expected; all others are files of the source.
// In files, "\r", "\t", "<BOM>" and "<NUL>" of lines in a case with the setting
// "escapes" stand for what they name.
type goldenCase struct {
	path    string
	archive *txtar.Archive
	def     ci.Definition
	blind   bool
}

func loadCase(t testing.TB, path string) *goldenCase {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := &goldenCase{path: path, archive: a}
	c.def = ci.Definition{Path: a.Files[0].Name, Parameters: map[string]string{}}
	escapes := false
	for line := range strings.Lines(string(a.Comment)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "batch":
			c.def.Batch = true
		case line == "escapes":
			escapes = true
		case line == "schema: blind":
			c.blind = true
		case strings.HasPrefix(line, "param "):
			name, value, _ := strings.Cut(line[len("param "):], "=")
			c.def.Parameters[name] = value
		}
	}
	files := map[string][]byte{}
	for _, f := range a.Files {
		if escapes {
			files[f.Name] = []byte(strings.NewReplacer(`\r`, "\r", `\t`, "\t", "<BOM>", "\ufeff", "<NUL>", "\x00", "<FF>", "\xff").Replace(string(f.Data)))
		} else {
			files[f.Name] = f.Data
		}
	}
	c.def.Text = files[c.def.Path]
	c.def.Read = func(name string) ([]byte, error) {
		if text, ok := files[name]; ok && !isGolden(name) {
			return text, nil
		}
		return nil, &fs.PathError{Op: "stat", Path: name, Err: errors.New("no such file or directory")}
	}
	return c
}

func isGolden(name string) bool {
	return name == "plan.json" || name == "problems.txt" || name == "lint.txt"
}

func cases(t testing.TB) []*goldenCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	out := make([]*goldenCase, len(paths))
	for i, p := range paths {
		out[i] = loadCase(t, p)
	}
	return out
}

func TestGolden(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(c.path), ".txtar"), func(t *testing.T) {
			if !*update {
				t.Parallel()
			}
			got := map[string][]byte{}
			plan, err := New().Compile(c.def)
			if err != nil {
				got["problems.txt"] = []byte(err.Error() + "\n")
			} else {
				got["plan.json"] = indent(t, plan)
			}
			if lint := Lint(c.def); len(lint) > 0 && lint.Error()+"\n" != string(got["problems.txt"]) {
				got["lint.txt"] = []byte(lint.Error() + "\n")
			}
			c.compare(t, got)
		})
	}
}

func (c *goldenCase) compare(t *testing.T, got map[string][]byte) {
	t.Helper()
	want := map[string][]byte{}
	var inputs []txtar.File
	for _, f := range c.archive.Files {
		if isGolden(f.Name) {
			want[f.Name] = f.Data
		} else {
			inputs = append(inputs, f)
		}
	}
	if *update {
		for _, name := range []string{"plan.json", "problems.txt", "lint.txt"} {
			if got[name] != nil {
				inputs = append(inputs, txtar.File{Name: name, Data: got[name]})
			}
		}
		out := txtar.Format(&txtar.Archive{Comment: c.archive.Comment, Files: inputs})
		if err := os.WriteFile(c.path, out, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"plan.json", "problems.txt", "lint.txt"} {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s: %s differs (run with -update to accept)\ngot:\n%s\nwant:\n%s", c.path, name, got[name], want[name])
		}
	}
}

func indent(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCorpusSize keeps the promise of the corpus: enough of both kinds.
func TestCorpusSize(t *testing.T) {
	accepted, refused := 0, 0
	for _, c := range cases(t) {
		if _, err := New().Compile(c.def); err != nil {
			refused++
		} else {
			accepted++
		}
	}
	if accepted < 40 || refused < 20 {
		t.Errorf("corpus has %d accepted and %d refused cases, want 40 and 20 at least", accepted, refused)
	}
}
