package api_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/ci"
)

// emptyTree is an upload with one directory.
const emptyTree = "\x28\xb5\x2f\xfd\x64\x00\x05\xed\x01\x00\xc2\x81\x06\x0d\xd0\x47\x01\x89\x16\x3f\xf8\xf5\x0e\x29\x7d\xb7\x1f\x97\x21\xe8\x24\x03\x55\x8c\xbb\xd9\x7d\x85\x12" +
	"\x0c\x00\x8d\xec\xfc\x01\x40\xc0\x5a\x07\x91\x83\x00\x60\x0c\x56\x68\x8e\x99\xf6\x92\xc1\x4d\x0e\xac\xe0\x58\xb9\x8c\x33\xb9\x21\xb6\x80\x1e\x2f"

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// tree packs files, name after content.
func tree(t testing.TB, files ...string) string {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for i := 0; i+1 < len(files); i += 2 {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, also := io.WriteString(w, files[i+1])
		err = errors.Join(err, also)
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func (w *world) send(project, body string) (client.Upload, bool, error) {
	return w.admin.Upload(w.t.Context(), project, sumOf(body), int64(len(body)), strings.NewReader(body))
}

// TestUploadIsBuilt sends a tree that is bigger than what other bodies may be.
func TestUploadIsBuilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("app", "phases: {build: {commands: [echo the project]}}")
	noise := make([]byte, 900<<10) // which cannot be compressed
	_, _ = rand.Read(noise)
	body := tree(t, "buildspec.yml", "version: 0.2\nphases: {build: {commands: [echo the upload]}}\n", "noise", string(noise))
	u, sent, err := w.send("app", body)
	if err != nil || !sent || u.Size != int64(len(body)) {
		t.Fatalf("got %+v, %v, %v", u, sent, err)
	}
	if again, sent, err := w.send("app", body); err != nil || sent || again != u {
		t.Errorf("sent again: got %+v, %v, %v", again, sent, err)
	}
	b := w.start("app", client.StartBuild{Source: &u.Source})
	if b = w.done("app", b.Number); b.Status != client.Succeeded || b.Source != u.Source {
		t.Fatalf("got %s (%s) of %+v", b.Status, b.Reason, b.Source)
	}
	if got := w.readLog("app", b.Number, client.LogOptions{}); got != "the upload\n" {
		t.Errorf("got %q", got)
	}
	again, _, err := w.admin.RetryBuild(t.Context(), "app", b.Number, client.RetryOptions{})
	if err != nil || w.done("app", again.Number).Status != client.Succeeded {
		t.Errorf("retry: %v", err)
	}
	// Those who may start builds may build what they send, and nothing else but the project's source.
	builder := w.client(w.user(ci.User{Name: "bob", Role: ci.RoleBuilder}))
	if _, _, err := builder.StartBuild(t.Context(), "app", client.StartBuild{Source: &u.Source}); err != nil {
		t.Error(err)
	}
	_, _, err = builder.StartBuild(t.Context(), "app", client.StartBuild{Source: &client.Source{Type: "git", Location: "https://example.com/secret.git"}})
	wantError(t, err, 403, "denied", "takes the role maintainer")
	maintainer := w.client(w.user(ci.User{Name: "meg", Role: ci.RoleMaintainer}))
	_, _, err = maintainer.StartBuild(t.Context(), "app", client.StartBuild{Source: &client.Source{Type: "directory", Location: "/"}})
	wantError(t, err, 403, "denied", "only an administrator")
	w.project("other", "phases: {build: {commands: [echo]}}")
	_, _, err = w.admin.StartBuild(t.Context(), "other", client.StartBuild{Source: &u.Source})
	wantError(t, err, 422, "invalid", "body.source.location: want other/SHA256")
	missing := client.Source{Type: "upload", Location: "app/" + strings.Repeat("0", 64)}
	_, _, err = w.admin.StartBuild(t.Context(), "app", client.StartBuild{Source: &missing, Ref: "main"})
	wantError(t, err, 422, "invalid", "body.ref: an upload has no versions")
	_, _, err = w.admin.StartBuild(t.Context(), "app", client.StartBuild{Source: &missing})
	wantError(t, err, 422, "invalid", "send it again")
	if _, err := w.admin.CreateProject(t.Context(), client.Project{Name: "sent", Source: client.Source{Type: "upload"}}); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.admin.StartBuild(t.Context(), "sent", client.StartBuild{})
	wantError(t, err, 422, "invalid", "sluice run --remote --project sent")
}

func TestUploadIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Patience = 300 * time.Millisecond })
	w.project("app", "phases: {build: {commands: [echo]}}")
	noise := make([]byte, 2<<20)
	_, _ = rand.Read(noise)
	_, _, err := w.send("app", tree(t, "noise", string(noise)))
	wantError(t, err, 413, "too_large", "--upload-max")
	_, _, err = w.send("app", tree(t, "../x", ""))
	wantError(t, err, 422, "invalid", "leads out of the work tree")
	body := tree(t, "a", "")
	_, _, err = w.admin.Upload(t.Context(), "app", sumOf("something else"), int64(len(body)), strings.NewReader(body))
	wantError(t, err, 422, "invalid", "damaged on the way")
	_, _, err = w.admin.Upload(t.Context(), "app", "XYZ", 1, strings.NewReader("x"))
	wantError(t, err, 422, "invalid", "sum: want the SHA-256")
	// One that sends nothing for a while is told so, and holds nothing.
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "PUT /api/v1/projects/app/uploads/"+sumOf(body)+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+w.token+"\r\nContent-Length: 1000\r\n\r\nabc"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(io.LimitReader(c, 12))
	if err != nil || string(answer) != "HTTP/1.1 408" {
		t.Errorf("a slow client got %q, %v", answer, err)
	}
	_, err = w.admin.Project(t.Context(), "app")
	if err != nil {
		t.Error(err)
	}
}

// TestUploadsAreTidied lets time pass.
func TestUploadsAreTidied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now()
	w.now = func() time.Time { return now }
	w.project("app", "phases: {build: {commands: [echo]}}")
	unused, _, err := w.send("app", tree(t, "unused", ""))
	if err != nil {
		t.Fatal(err)
	}
	used, _, err := w.send("app", tree(t, "buildspec.yml", "version: 0.2\nphases: {build: {commands: [echo]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	b := w.start("app", client.StartBuild{Source: &used.Source})
	w.done("app", b.Number)
	there := func(when string, u client.Upload, want bool) {
		t.Helper()
		if err := w.app.TidyUploads(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.uploads.Find(t.Context(), u.Source.Location); errors.Is(err, ci.ErrNotFound) == want {
			t.Errorf("%s: got %v", when, err)
		}
	}
	there("at once", unused, true)
	now = now.Add(25 * time.Hour)
	there("unused, after a day", unused, false)
	there("used, after a day", used, true)
	if _, sent, err := w.send("app", tree(t, "buildspec.yml", "version: 0.2\nphases: {build: {commands: [echo]}}\n")); err != nil || !sent {
		t.Errorf("an old one is to be sent again: %v, %v", sent, err)
	}
	if err := w.admin.DeleteBuild(t.Context(), "app", b.Number); err != nil {
		t.Fatal(err)
	}
	now = now.Add(25 * time.Hour)
	there("its build is deleted", used, false)
}
