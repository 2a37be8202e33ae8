package source_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/source"
)

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func uploads(t testing.TB) *source.Uploads {
	t.Helper()
	dir, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &source.Uploads{Blobs: dir, Most: 1 << 20, Unpacked: 4 << 20, Quota: 2 << 20}
}

// archive packs headers, each with content of its size.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestUpload sends a work tree with changes that are not committed, and gets what
// the directory itself gives.
func TestUpload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q", "-b", "main")
	write("buildspec.yml", "version: 0.2\n")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	write("buildspec.yml", "version: 0.2 # changed\n")
	write("ci/real.yml", "there\n")
	write("out/skipped", "never sent\n")
	if err := os.Symlink("ci/real.yml", filepath.Join(dir, "link.yml")); err != nil {
		t.Fatal(err)
	}
	store := uploads(t)
	f := source.New(source.Options{Cache: t.TempDir(), Uploads: store, Exclude: []string{"out"}})
	here := ci.Source{Type: source.TypeDirectory, Location: dir}
	var packed, again bytes.Buffer
	commit, err := f.Pack(t.Context(), here, &packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Pack(t.Context(), here, &again); err != nil || !bytes.Equal(packed.Bytes(), again.Bytes()) {
		t.Errorf("packed twice, it is not the same (%v)", err)
	}
	there := ci.Source{Type: source.TypeUpload, Location: "app/" + sumOf(packed.Bytes())}
	if _, err := store.Find(t.Context(), there.Location); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("before it was sent: got %v", err)
	}
	if _, err := store.Take(t.Context(), there.Location, iotest.OneByteReader(&packed)); err != nil {
		t.Fatal(err)
	}
	got, err := f.Resolve(t.Context(), there)
	if err != nil || !got.Time.Equal(commit.Time) || got.Hash != commit.Hash || got.Ref != "refs/heads/main" || !got.Dirty {
		t.Errorf("got commit %+v, %v; want %+v", got, err, commit)
	}
	for name, want := range map[string]string{"buildspec.yml": "version: 0.2 # changed\n", "link.yml": "there\n"} {
		if text, err := f.ReadFile(t.Context(), there, got, name); err != nil || string(text) != want {
			t.Errorf("%s: got %q, %v", name, text, err)
		}
	}
	for name, want := range map[string]error{"missing.yml": ci.ErrNotFound, "out/skipped": ci.ErrNotFound, "../x": ci.ErrInvalid, "ci": ci.ErrInvalid} {
		if _, err := f.ReadFile(t.Context(), there, got, name); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	var one, other bytes.Buffer
	if err := errors.Join(f.Archive(t.Context(), here, commit, &one), f.Archive(t.Context(), there, got, &other)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), other.Bytes()) {
		t.Error("the archive of the upload is not that of the directory")
	}
	if err := store.Remove(t.Context(), there.Location); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Resolve(t.Context(), there); !errors.Is(err, ci.ErrNotFound) || !strings.Contains(err.Error(), "send it again") {
		t.Errorf("once it was removed: got %v", err)
	}
}

// TestUploadRefused has nothing stored of what is not an upload.
func TestUploadRefused(t *testing.T) {
	t.Parallel()
	good := archive(t, tar.Header{Name: "a", Size: 3})
	file := func(name string) []byte { return archive(t, tar.Header{Name: name, Size: 1}) }
	cases := map[string]struct {
		body  []byte
		sum   string
		want  string
		large bool
	}{
		"another sum":      {good, strings.Repeat("ab", 32), "it was damaged on the way", false},
		"cut":              {good[:len(good)-5], "", "not a tar compressed with zstd", false},
		"no archive":       {[]byte("hello"), "", "not a tar compressed with zstd", false},
		"empty":            {nil, "", "not a tar", false}, // an empty tree has at least a header
		"outside":          {file("../x"), "", "leads out of the work tree", false},
		"absolute":         {file("/etc/passwd"), "", "leads out of the work tree", false},
		"a device":         {archive(t, tar.Header{Name: "dev", Typeflag: tar.TypeChar}), "", "neither a file", false},
		"too big":          {archive(t, tar.Header{Name: strings.Repeat("a", 90), Size: 1}), "", "more than 70 bytes", true},
		"too big unpacked": {archive(t, tar.Header{Name: "zeros", Size: 5 << 20}), "", "unpacked it has more", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := uploads(t)
			if name == "too big" {
				u.Most = 70
			}
			sum := c.sum
			if sum == "" {
				sum = sumOf(c.body)
			}
			_, err := u.Take(t.Context(), "app/"+sum, bytes.NewReader(c.body))
			if !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			var large *source.TooLarge
			if errors.As(err, &large) != c.large {
				t.Errorf("got %v as too large: %v", err, c.large)
			}
			if _, err := u.Find(t.Context(), "app/"+sum); !errors.Is(err, ci.ErrNotFound) {
				t.Errorf("something was stored: %v", err)
			}
		})
	}
	u := uploads(t)
	broken := io.MultiReader(bytes.NewReader(good[:10]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := u.Take(t.Context(), "app/"+sumOf(good), broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a connection that breaks: got %v", err)
	}
	for _, location := range []string{"", "app", "app/xyz", "../" + sumOf(good), "app/" + strings.ToUpper(sumOf(good)), "a b/" + sumOf(good), "app/x/" + sumOf(good)} {
		if _, err := u.Take(t.Context(), location, bytes.NewReader(good)); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("location %q: got %v", location, err)
		}
	}
}

// TestUploadQuota counts the uploads of one project only, and the same one once.
func TestUploadQuota(t *testing.T) {
	t.Parallel()
	u := uploads(t)
	u.Quota = 10
	a, b := archive(t, tar.Header{Name: "a", Size: 100}), archive(t, tar.Header{Name: "b", Size: 100})
	for range 2 {
		if _, err := u.Take(t.Context(), "app/"+sumOf(a), bytes.NewReader(a)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := u.Take(t.Context(), "app/"+sumOf(b), bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "--upload-quota") {
		t.Errorf("over the quota: got %v", err)
	}
	if _, err := u.Take(t.Context(), "other/"+sumOf(b), bytes.NewReader(b)); err != nil {
		t.Errorf("of another project: %v", err)
	}
}

// FuzzUpload takes whatever comes.
func FuzzUpload(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a", Size: 3}))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"SLUICE.commit": `{"hash":"x"}`}}))
	f.Add([]byte("(\xb5/\xfd"))
	dir, err := blob.OpenCache(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	u := &source.Uploads{Blobs: dir, Most: 1 << 20, Unpacked: 1 << 20}
	fetch := source.New(source.Options{Uploads: u})
	f.Fuzz(func(t *testing.T, body []byte) {
		at := "app/" + sumOf(body)
		if _, err := u.Take(t.Context(), at, bytes.NewReader(body)); err != nil {
			return
		}
		s := ci.Source{Type: source.TypeUpload, Location: at}
		c, err := fetch.Resolve(t.Context(), s)
		if err != nil && !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("taken, and then: %v", err)
		}
		if err := fetch.Archive(t.Context(), s, c, io.Discard); err != nil && !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("taken, and then: %v", err)
		}
	})
}
