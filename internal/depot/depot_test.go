package depot_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/depot"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/store"
)

// kept is a server's state with one build that is done and one that runs.
type kept struct {
	depot.Place
	t *testing.T
}

func newKept(t *testing.T) kept {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	k := kept{depot.Place{Data: data, Database: filepath.Join(data, "sluice.db"), Folder: filepath.Join(data, "blobs")}, t}
	must(t, os.MkdirAll(data, 0o700))
	blobs, err := blob.OpenDir(k.Folder)
	must(t, err)
	k.Blobs = blobs
	db, err := store.OpenDB(t.Context(), k.Database, store.Options{})
	must(t, err)
	_, err = db.PutProject(t.Context(), ci.Project{Name: "app"})
	must(t, err)
	kept, err := logs.Open(filepath.Join(data, "logs"), logs.Options{})
	must(t, err)
	for _, id := range []ci.BuildID{"done", "runs"} {
		b, _, err := db.Create(t.Context(), ci.Build{ID: id, Project: "app"}, "")
		must(t, err)
		b.Status = ci.Running
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventBuildStarted, b)))
		zip := k.put(id, "app.zip", "PK zip")
		one, two := k.put(id, "site/a", "one"), k.put(id, "site/sub/b%25", "two")
		folder := sum(one.SHA256 + "  a\n" + two.SHA256 + "  sub/b%\n")
		job := ci.JobRun{ID: id.Job("build", 1), Status: ci.Queued}
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventJobQueued, job)))
		job.Status = ci.Running
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventJobStarted, job)))
		step := ci.StepRun{ID: job.ID.Step("BUILD/0"), Kind: ci.KindCommand, Phase: ci.PhaseBuild, Status: ci.Running}
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventStepStarted, step)))
		w, err := kept.Append(t.Context(), step.ID, nil)
		must(t, err)
		_, err = w.Write([]byte("output of " + string(id) + "\n"))
		must(t, errors.Join(err, w.Close()))
		if id == "runs" {
			continue
		}
		must(t, kept.Seal(t.Context(), step.ID))
		step.Status = ci.Succeeded
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventStepFinished, step)))
		job.Status, b.Status = ci.Succeeded, ci.Succeeded
		job.Artifacts = []ci.Artifact{
			{Name: "app", Path: "artifacts/app.zip", Format: "zip", Files: 1, Size: zip.Size, SHA256: zip.SHA256, Blob: zip.Key},
			{ID: "site", Name: "site", Path: "artifacts/site", Format: "folder", Files: 2, Size: 6, SHA256: folder, Blob: "builds/done/build/artifacts/site"},
		}
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventJobFinished, job)))
		must(t, db.Append(t.Context(), ci.NewEvent(ci.EventBuildFinished, b)))
	}
	must(t, errors.Join(kept.Close(), db.Close()))
	for name, text := range map[string]string{"admin-token": "slu_secret", "master.key": "key", "acme/ci.example.com": "key of a certificate", "uploads/x/src.tar": "sources", "git/mirror": "made again", "cache/blobs/c": "made again"} {
		path := filepath.Join(data, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return k
}

func (k kept) put(id ci.BuildID, name, text string) ci.Blob {
	k.t.Helper()
	b, err := k.Blobs.Put(k.t.Context(), id.Blobs()+"/build/artifacts/"+name, strings.NewReader(text))
	must(k.t, err)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (k kept) check(repair bool) (report *depot.Report, problems string) {
	k.t.Helper()
	r, err := depot.Check(k.t.Context(), k.Place, repair)
	must(k.t, err)
	var lines []string
	for _, p := range r.Problems {
		lines = append(lines, fmt.Sprintf("%s %s: %s", p.Kind, p.Name, p.What))
	}
	slices.Sort(lines)
	return r, strings.Join(lines, "\n")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	if r, problems := k.check(false); problems != "" || r.Builds != 2 || r.Artifacts != 2 || r.Logs != 1 {
		t.Errorf("a sound server: %+v\n%s", r, problems)
	}
	// One thing of each kind goes wrong.
	must(t, k.Blobs.Delete(t.Context(), "builds/done/build/artifacts/site/a"))
	path := filepath.Join(k.Folder, "blobs", "builds/done/build/artifacts/app.zip.blob")
	text, err := os.ReadFile(path)
	must(t, err)
	text[130] ^= 1
	must(t, os.WriteFile(path, text, 0o600))
	k.put("done", "nobodys", "x")
	k.put("gone", "app.zip", "x")
	must(t, os.MkdirAll(filepath.Join(k.Data, "logs", "gone", "build"), 0o700))
	must(t, os.MkdirAll(filepath.Join(k.Data, "builds", "gone"), 0o700))
	must(t, os.WriteFile(filepath.Join(k.Data, "logs", "done", "build", "BUILD", "0.idx"), nil, 0o600))
	want := []string{
		"artifact app/1: artifact app of job build: blob builds/done/build/artifacts/app.zip is damaged: bytes 0 to 6 are not those that were put",
		"artifact app/1: artifact site of job build: it has 1 files, want 2",
		"orphan : blob builds/gone/build/artifacts/app.zip is of a build that there is not",
		"orphan : folder " + filepath.Join(k.Data, "builds", "gone") + " is of a build that there is not",
		"orphan : folder " + filepath.Join(k.Data, "logs", "gone") + " is of a build that there is not",
		"orphan app/1: blob builds/done/build/artifacts/nobodys belongs to nothing of its build",
	}
	r, problems := k.check(false)
	if problems != strings.Join(want, "\n") || r.Open() != len(want) {
		t.Errorf("got\n%s\nwant\n%s", problems, strings.Join(want, "\n"))
	}
	if r, _ := k.check(true); r.Open() != 2 {
		t.Errorf("after the repair %d are open, want the two artifacts", r.Open())
	}
	if _, problems := k.check(false); problems != strings.Join(want[:2], "\n") {
		t.Errorf("after the repair:\n%s", problems)
	}
	k.Database = filepath.Join(k.Data, "none.db")
	if _, err := depot.Check(t.Context(), k.Place, true); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("without a database: %v, want ErrNotFound and nothing removed", err)
	}
}

// TestCheckKnowsRetention: what was removed on purpose is not missing, and what of it
// is still to go is nobody's fault.
func TestCheckKnowsRetention(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	db, err := store.OpenDB(t.Context(), k.Database, store.Options{})
	must(t, err)
	gone, err := db.Expire(t.Context(), ci.PartArtifacts, []ci.BuildID{"done"})
	must(t, err)
	if len(gone) != 1 {
		t.Fatalf("%v was expired", gone)
	}
	must(t, db.Close())
	for range 2 {
		if r, problems := k.check(false); problems != "" || r.Builds != 2 || r.Artifacts != 0 {
			t.Errorf("%+v\n%s", r, problems)
		}
		must(t, k.Blobs.Delete(t.Context(), ci.BuildID("done").Blobs()+"/build/artifacts/"))
	}
}

func backup(t *testing.T, k kept, keys bool) []byte {
	t.Helper()
	var out bytes.Buffer
	c, err := depot.Backup(t.Context(), k.Place, &out, depot.Options{Version: "test", Keys: keys})
	must(t, err)
	if c.Builds != 2 || len(c.Notes) != 0 {
		t.Errorf("backed up %+v", c)
	}
	return out.Bytes()
}

// tree lists the files below a folder with their bytes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			text, rerr := os.ReadFile(path)
			rel, _ := filepath.Rel(dir, path)
			files[rel], err = string(text), rerr
		}
		return err
	})
	must(t, err)
	return files
}

func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	for _, keys := range []bool{false, true} {
		packed := backup(t, k, keys)
		verified, err := depot.Verify(t.Context(), bytes.NewReader(packed), t.TempDir())
		if err != nil || verified.Head.Keys != keys || verified.Contents.Builds != 2 {
			t.Errorf("verify: %+v, %v", verified, err)
		}
		data := filepath.Join(t.TempDir(), "again")
		_, err = depot.Restore(t.Context(), bytes.NewReader(packed), depot.Target{Data: data})
		must(t, err)
		blobs, err := blob.OpenDir(filepath.Join(data, "blobs"))
		must(t, err)
		again := kept{depot.Place{Data: data, Database: filepath.Join(data, "sluice.db"), Blobs: blobs}, t}
		if r, problems := again.check(false); problems != "" || r.Builds != 2 || r.Artifacts != 2 || r.Logs != 1 {
			t.Errorf("what was restored: %+v\n%s", r, problems)
		}
		before, after := tree(t, k.Data), tree(t, data)
		for name, text := range before {
			_, isThere := after[name]
			left := strings.HasPrefix(name, "git/") || strings.HasPrefix(name, "cache/") || strings.HasPrefix(name, "sluice.db")
			if isKey := name == "admin-token" || name == "master.key" || strings.HasPrefix(name, "acme/"); isKey {
				left = !keys
			}
			if strings.HasPrefix(name, "sluice.db") {
				continue
			}
			if isThere == left || isThere && !strings.HasPrefix(name, "blobs/") && after[name] != text {
				t.Errorf("keys=%v: %s is restored: %v, as %q", keys, name, isThere, after[name])
			}
		}
		if _, err := os.Stat(filepath.Join(data, "tables.jsonl")); err == nil {
			t.Error("the copy of the tables is left")
		}
		_, err = depot.Restore(t.Context(), bytes.NewReader(packed), depot.Target{Data: data})
		if !errors.Is(err, ci.ErrConflict) {
			t.Errorf("into a folder that is used: %v, want ErrConflict", err)
		}
	}
}

// TestRestoreElsewhere takes the blobs to another store, which must be empty.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	packed := backup(t, k, false)
	other, err := blob.OpenDir(t.TempDir())
	must(t, err)
	data := filepath.Join(t.TempDir(), "again")
	to := depot.Target{Data: data, Database: filepath.Join(t.TempDir(), "else.db"), Blobs: other}
	// The database fails last: then nothing is left of the blobs either.
	db, err := store.OpenDB(t.Context(), to.Database, store.Options{})
	must(t, err)
	must(t, db.Close())
	if _, err := depot.Restore(t.Context(), bytes.NewReader(packed), to); !errors.Is(err, ci.ErrConflict) {
		t.Errorf("into a database that is used: %v, want ErrConflict", err)
	}
	must(t, other.List(t.Context(), "", func(b ci.Blob) error { t.Errorf("%s is left", b.Key); return nil }))
	to.Database = filepath.Join(t.TempDir(), "new.db")
	if _, err := depot.Restore(t.Context(), bytes.NewReader(packed), to); err != nil {
		t.Fatal(err)
	}
	again := kept{depot.Place{Data: data, Database: to.Database, Blobs: other}, t}
	if r, problems := again.check(false); problems != "" || r.Artifacts != 2 {
		t.Errorf("%+v\n%s", r, problems)
	}
	to.Data, to.Database = filepath.Join(t.TempDir(), "more"), filepath.Join(t.TempDir(), "more.db")
	if _, err := depot.Restore(t.Context(), bytes.NewReader(packed), to); !errors.Is(err, ci.ErrConflict) {
		t.Errorf("into blobs that are used: %v, want ErrConflict", err)
	}
}

// TestRestoreRefuses: archives that are cut, changed, or made to do harm.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	packed := backup(t, k, true)
	try := func(what string, packed []byte) {
		t.Helper()
		dir := t.TempDir()
		_, err := depot.Restore(context.Background(), bytes.NewReader(packed), depot.Target{Data: filepath.Join(dir, "data")})
		if !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
		if left := tree(t, dir); len(left) != 0 {
			t.Errorf("%s: %d files are left", what, len(left))
		}
	}
	for _, n := range []int{0, 1, 10, len(packed) / 3, len(packed) / 2, len(packed) - 20} {
		try(fmt.Sprintf("cut after %d bytes", n), packed[:n])
	}
	for _, at := range []int{20, len(packed) / 2, len(packed) - 30} {
		b := bytes.Clone(packed)
		b[at] ^= 0x10
		try(fmt.Sprintf("byte %d changed", at), b)
	}
	try("text", []byte("this is no archive"))
	for what, change := range map[string]func(h *tar.Header, text []byte) ([]*tar.Header, []byte){
		"a path that leads out": renamed("files/uploads/x/src.tar", "files/../../evil"),
		"an absolute path":      renamed("files/uploads/x/src.tar", "files//etc/evil"),
		"a database":            renamed("files/uploads/x/src.tar", "files/sluice.db"),
		"the copy of tables":    renamed("files/uploads/x/src.tar", "files/tables.jsonl"),
		"a blob of no build":    renamed("blobs/builds/done/build/artifacts/app.zip", "blobs/cache/app.zip"),
		"a blob that leads out": renamed("blobs/builds/done/build/artifacts/app.zip", "blobs/builds/../../x"),
		"a name of nothing":     renamed("files/uploads/x/src.tar", "x"),
		"another order":         renamed("sluice-backup.json", "files/x"),
		"a file twice":          renamed("files/uploads/x/src.tar", "files/master.key"),
		"a missing file":        renamed("files/uploads/x/src.tar", ""),
		"a link": func(h *tar.Header, text []byte) ([]*tar.Header, []byte) {
			if h.Name != "files/master.key" {
				return []*tar.Header{h}, text
			}
			return []*tar.Header{{Typeflag: tar.TypeSymlink, Name: "files/link", Linkname: "/etc"}, h}, text
		},
		"other bytes": func(h *tar.Header, text []byte) ([]*tar.Header, []byte) {
			if h.Name == "files/master.key" {
				text = []byte("kez")
			}
			return []*tar.Header{h}, text
		},
		"other tables": func(h *tar.Header, text []byte) ([]*tar.Header, []byte) {
			if h.Name == "tables.jsonl" {
				text = bytes.Replace(text, []byte(`"done"`), []byte(`"gone"`), 1)
			}
			return []*tar.Header{h}, text
		},
	} {
		try(what, rewritten(t, packed, change))
	}
	if again := rewritten(t, packed, renamed("none", "none")); bytes.Equal(again, packed) {
		t.Log("the same bytes")
	} else if _, err := depot.Verify(t.Context(), bytes.NewReader(again), t.TempDir()); err != nil {
		t.Errorf("an archive that was only packed again: %v", err)
	}
}

func renamed(from, to string) func(*tar.Header, []byte) ([]*tar.Header, []byte) {
	return func(h *tar.Header, text []byte) ([]*tar.Header, []byte) {
		if h.Name != from {
			return []*tar.Header{h}, text
		}
		if to == "" {
			return nil, nil
		}
		h.Name = to
		return []*tar.Header{h}, text
	}
}

// rewritten is an archive with each entry changed.
func rewritten(t *testing.T, packed []byte, change func(*tar.Header, []byte) ([]*tar.Header, []byte)) []byte {
	t.Helper()
	in, err := zstd.NewReader(bytes.NewReader(packed))
	must(t, err)
	defer in.Close()
	var out bytes.Buffer
	zw, err := zstd.NewWriter(&out)
	must(t, err)
	tw := tar.NewWriter(zw)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		headers, text := change(h, text)
		for _, h := range headers {
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(text))
			}
			must(t, tw.WriteHeader(h))
			if h.Typeflag == tar.TypeReg {
				_, err := tw.Write(text)
				must(t, err)
			}
		}
	}
	must(t, errors.Join(tw.Close(), zw.Close()))
	return out.Bytes()
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
