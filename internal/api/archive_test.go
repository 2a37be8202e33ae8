package api_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// TestArchive has the artifacts of two jobs in one file, read by what reads such files.
func TestArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.project("web", "batch: {build-list: [{identifier: first, buildspec: one.yml}, {identifier: second, buildspec: two.yml}]}")
	for name, text := range map[string]string{
		"one.yml": "version: 0.2\nphases: {build: {commands: ['write a.txt first', 'write sub/b.txt more']}}\nartifacts: {files: ['**/*.txt'], name: dist}\n",
		"two.yml": "version: 0.2\nphases: {build: {commands: ['write a.txt second']}}\nartifacts: {files: [a.txt], name: dist}\n",
	} {
		w.file("web", name, text)
	}
	p.Batch = true
	if _, err := w.admin.UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w.start("web", client.StartBuild{})
	if b := w.done("web", 1); b.Status != client.Succeeded {
		t.Fatalf("got %s: %s", b.Status, b.Reason)
	}
	fetch := func(format string) []byte {
		f, err := w.admin.Archive(t.Context(), "web", 1, format)
		if err != nil || f.Name != "web-1."+format {
			t.Fatalf("got %+v, %v", f, err)
		}
		defer f.Close()
		text, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := []string{"first/dist/a.txt=first\n", "first/dist/sub/b.txt=more\n", "second/dist/a.txt=second\n"}
	text := fetch("zip")
	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f.Name+"="+string(body))
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("zip: got %q, want %q", got, want)
	}
	got = nil
	for r := tar.NewReader(bytes.NewReader(fetch("tar"))); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+"="+string(body))
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("tar: got %q, want %q", got, want)
	}
	_, err = w.admin.Archive(t.Context(), "web", 1, "rar")
	wantError(t, err, 422, "invalid", "")
	w.project("empty", "phases: {build: {commands: ['true']}}")
	w.start("empty", client.StartBuild{})
	w.done("empty", 1)
	_, err = w.admin.Archive(t.Context(), "empty", 1, "zip")
	wantError(t, err, 404, "not_found", "it has none")
}

// TestArtifactRange asks for the rest of a file whose download broke.
func TestArtifactRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	const path = "/api/v1/projects/web/builds/1/artifacts/build/results/out.txt"
	status, h, body := w.raw("GET", path, w.token, "", "Range", "bytes=5-")
	if status != 206 || body != "bytes\n" || !strings.HasSuffix(h.Get("Content-Range"), "/11") {
		t.Errorf("got %d %q, %v", status, body, h)
	}
	if status, _, body := w.raw("GET", path, w.token, "", "Range", "bytes=-3"); status != 206 || body != "es\n" {
		t.Errorf("got %d %q", status, body)
	}
	if status, _, _ := w.raw("GET", path, w.token, "", "Range", "bytes=50-"); status != 416 {
		t.Errorf("behind the end: got %d", status)
	}
}
