package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const goldenName = "report.json"

// TestGolden reads the files of each case as one group. The comment of a case
// names the format.
func TestGolden(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 13 {
		t.Fatalf("%d golden files, %v; want one for each format at least", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden(t, path)
		})
	}
}

func golden(t *testing.T, path string) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBuilder("group", formatOf(a))
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	inputs := a.Files[:0:0]
	for _, f := range a.Files {
		if f.Name == goldenName {
			want = f.Data
			continue
		}
		inputs = append(inputs, f)
		b.Read(f.Name, bytes.NewReader(f.Data))
	}
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(b.Report()); err != nil {
		t.Fatal(err)
	}
	if *update {
		a.Files = append(inputs, txtar.File{Name: goldenName, Data: got.Bytes()})
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got:\n%s\nwant:\n%s\n(-update rewrites it)", got.Bytes(), want)
	}
}

func formatOf(a *txtar.Archive) string {
	for line := range strings.Lines(string(a.Comment)) {
		if f, ok := strings.CutPrefix(line, "format: "); ok {
			return strings.TrimSpace(f)
		}
	}
	return ""
}
