package secret_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
	"github.com/sluice-ci/sluice/internal/store"
)

func openDB(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.OpenDB(t.Context(), filepath.Join(dir, "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openSafe(t *testing.T, r secret.Records, k *secret.Keys) *secret.Safe {
	t.Helper()
	s, err := secret.OpenSafe(t.Context(), r, k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// values opens every version that is stored, by name and number.
func values(t *testing.T, db *store.DB, s *secret.Safe) map[string]string {
	t.Helper()
	got := map[string]string{}
	list, err := db.Secrets(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, sec := range list {
		versions, err := db.SecretVersions(t.Context(), sec.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range versions {
			value, err := s.Open(t.Context(), v)
			if err != nil {
				t.Fatalf("%s %d: %v", v.Name, v.Number, err)
			}
			got[fmt.Sprintf("%s:%d", v.Name, v.Number)] = value
		}
	}
	return got
}

func TestSafe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	file := filepath.Join(dir, "master.key")
	s := openSafe(t, db, secret.KeyFile(file))
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("master key: %v, %v", fi, err)
	}
	for i, value := range []string{"first-horse", "second-horse"} {
		if put, err := s.Add(t.Context(), "", "/a", "", value, "ann"); err != nil || put.Version != int64(i+1) {
			t.Fatalf("got %+v, %v", put, err)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := s.Add(t.Context(), "", "/busy", "", fmt.Sprint("value ", i), "ann"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := values(t, db, openSafe(t, db, secret.KeyFile(file)))
	if got["/a:1"] != "first-horse" || got["/a:2"] != "second-horse" || len(got) != 10 {
		t.Errorf("got %v", got)
	}
	for name, value := range map[string]string{"/b": "", "/c": "a\x00b", "/d": strings.Repeat("x", 65<<10), "/e": "\xff", "a:b": "v", "": "v", "é": "v"} {
		if _, err := s.Add(t.Context(), "", name, "", value, ""); !errors.Is(err, ci.ErrInvalid) || value != "" && len(value) < 1000 && value != "v" && strings.Contains(err.Error(), value) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := s.Add(t.Context(), "gone", "/a", "", "v", ""); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"db", "db-wal"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && bytes.Contains(text, []byte("horse")) {
			t.Errorf("%s holds the value", name)
		}
	}
}

// A sealed value opens as what it was sealed as, and as nothing else.
func TestSealedValuesCannotBeMoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	s := openSafe(t, db, secret.KeyFile(filepath.Join(dir, "master.key")))
	for _, name := range []string{"/a", "/b"} {
		if _, err := s.Add(t.Context(), "", name, "", "value of "+name, ""); err != nil {
			t.Fatal(err)
		}
	}
	sec, err := db.Secret(t.Context(), "", "/a")
	if err != nil {
		t.Fatal(err)
	}
	v, err := db.SecretVersion(t.Context(), sec.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(t.Context(), v); got != "value of /a" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	for what, change := range map[string]func(*ci.SecretVersion){
		"name":    func(v *ci.SecretVersion) { v.Name = "/b" },
		"scope":   func(v *ci.SecretVersion) { v.Project = "app" },
		"number":  func(v *ci.SecretVersion) { v.Number = 2 },
		"secret":  func(v *ci.SecretVersion) { v.Secret = "another" },
		"borders": func(v *ci.SecretVersion) { v.Project, v.Name = "/", "a" },
		"value":   func(v *ci.SecretVersion) { v.Sealed[len(v.Sealed)-1] ^= 1 },
		"nothing": func(v *ci.SecretVersion) { v.Sealed = nil },
	} {
		moved := v
		moved.Sealed = bytes.Clone(v.Sealed)
		change(&moved)
		if got, err := s.Open(t.Context(), moved); err == nil || strings.Contains(err.Error(), "value of") {
			t.Errorf("with another %s: got %q, %v", what, got, err)
		}
	}
}

// dying is records whose process is killed at a write: before it, or when it is
// done and nobody heard of it.
type dying struct {
	*store.DB
	at, n int
	after bool
}

var errKilled = errors.New("killed")

func (d *dying) die(write func() error) error {
	d.n++
	if d.n == d.at && !d.after || d.at > 0 && d.n > d.at {
		return errKilled
	}
	err := write()
	if d.n == d.at {
		return errKilled
	}
	return err
}

func (d *dying) AddSecretVersion(ctx context.Context, s ci.Secret, v ci.SecretVersion) (put ci.Secret, err error) {
	err = d.die(func() error { put, err = d.DB.AddSecretVersion(ctx, s, v); return err })
	return put, err
}

func (d *dying) AddSecretKey(ctx context.Context, id, after string) error {
	return d.die(func() error { return d.DB.AddSecretKey(ctx, id, after) })
}

func (d *dying) ForgetSecretKeys(ctx context.Context) error {
	return d.die(func() error { return d.DB.ForgetSecretKeys(ctx) })
}

func (d *dying) Reseal(ctx context.Context, before, after []ci.SecretVersion) error {
	return d.die(func() error { return d.DB.Reseal(ctx, before, after) })
}

// TestRotationKilledAtEveryWrite holds that every secret can be read whatever
// write the process was killed at, and that the next rotation ends well.
func TestRotationKilledAtEveryWrite(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			dir := t.TempDir()
			db := openDB(t, dir)
			file := filepath.Join(dir, "master.key")
			s := openSafe(t, db, secret.KeyFile(file))
			want := map[string]string{}
			for i := range 120 { // more than go into one transaction
				name := fmt.Sprintf("/s%d", i/2)
				want[fmt.Sprintf("%s:%d", name, i%2+1)] = fmt.Sprint("value ", i)
				if _, err := s.Add(t.Context(), "", name, "", fmt.Sprint("value ", i), ""); err != nil {
					t.Fatal(err)
				}
			}
			d := &dying{DB: db, at: at, after: after}
			killed := openSafe(t, d, secret.KeyFile(file))
			_, err := killed.Rotate(t.Context(), true)
			if d.n < at { // there is no such write any more
				if err != nil {
					t.Fatal(err)
				}
				if at < 5 {
					t.Fatalf("a rotation wrote %d times; want the key, two transactions and the forgetting", d.n)
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("killed at write %d (after: %v): got %v", at, after, err)
			}
			s = openSafe(t, db, secret.KeyFile(file))
			if got := values(t, db, s); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("killed at write %d (after: %v): got %v", at, after, got)
			}
			if err := s.Settle(t.Context()); err != nil {
				t.Error(err)
			}
			if got := values(t, db, s); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("settled after write %d: got %v", at, got)
			}
			done, err := s.Rotate(t.Context(), true)
			if err != nil || len(done.Keys) != 1 || done.Resealed != len(want) || done.Keys[0].Values != int64(len(want)) {
				t.Fatalf("the next rotation: %+v, %v", done, err)
			}
			if got := values(t, db, openSafe(t, db, secret.KeyFile(file))); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("after the next rotation: got %v", got)
			}
		}
	}
}

func TestRotationKeepsTheOldKeyForBackups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	file := filepath.Join(dir, "master.key")
	s := openSafe(t, db, secret.KeyFile(file))
	if _, err := s.Add(t.Context(), "", "/a", "", "precious", ""); err != nil {
		t.Fatal(err)
	}
	sec, _ := db.Secret(t.Context(), "", "/a")
	backup, err := db.SecretVersion(t.Context(), sec.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := s.Rotate(t.Context(), false); err != nil || len(done.Keys) != 2 {
		t.Fatalf("got %+v, %v", done, err)
	}
	// Another server on the same database and file, which knew only the old key.
	if got, err := s.Open(t.Context(), backup); got != "precious" || err != nil {
		t.Errorf("from the backup: %q, %v", got, err)
	}
	if _, err := s.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got, err := openSafe(t, db, secret.KeyFile(file)).Open(t.Context(), backup); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("from the backup, with the key forgotten: %q, %v", got, err)
	}
	if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the file has %d keys, %v; want one", strings.Count(string(text), "\n"), err)
	}
}

// Two servers share the database and the file; one rotates.
func TestAnotherServerRotates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	file := filepath.Join(dir, "master.key")
	one, two := openSafe(t, db, secret.KeyFile(file)), openSafe(t, db, secret.KeyFile(file))
	if _, err := two.Add(t.Context(), "", "/a", "", "v1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Add(t.Context(), "", "/a", "", "v2", ""); err != nil {
		t.Fatal(err)
	}
	if got := values(t, db, one); got["/a:1"] != "v1" || got["/a:2"] != "v2" {
		t.Errorf("got %v", got)
	}
	third := openSafe(t, db, secret.KeyFile(file))
	if got := values(t, db, third); got["/a:1"] != "v1" || got["/a:2"] != "v2" {
		t.Errorf("got %v", got)
	}
}

func TestKeysFromElsewhere(t *testing.T) {
	t.Parallel()
	const k1, k2 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	dir := t.TempDir()
	db := openDB(t, dir)
	text := k1
	keys := func() *secret.Keys {
		return secret.KeysFrom("a test", func(context.Context) ([]byte, error) { return []byte(text), nil })
	}
	s := openSafe(t, db, keys())
	if _, err := s.Add(t.Context(), "", "/a", "", "v1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(t.Context(), false); !errors.Is(err, ci.ErrConflict) || !strings.Contains(err.Error(), "in front") {
		t.Errorf("nothing new is in front: got %v", err)
	}
	text = k2 + "\n" + k1 + "\n"
	if done, err := s.Rotate(t.Context(), true); err != nil || done.Resealed != 1 || len(done.Keys) != 1 {
		t.Fatalf("got %+v, %v", done, err)
	}
	text = k2
	if got := values(t, db, openSafe(t, db, keys())); got["/a:1"] != "v1" {
		t.Errorf("got %v", got)
	}
	text = k1 // the new one is lost: the server starts, and a new key gets it out of there
	s = openSafe(t, db, keys())
	if err := s.Settle(t.Context()); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "bring that key back") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Rotate(t.Context(), false); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "/a") {
		t.Errorf("got %v, want the secrets named that are lost", err)
	}
	if _, err := s.Add(t.Context(), "", "/a", "", "v2", ""); err != nil {
		t.Errorf("set anew: %v", err)
	}
	for _, bad := range []string{"", "# nothing", "short", k1 + k1, k1[:43], k1 + "\nhunter2-sw0rdfish", strings.Repeat(k1+"\n", 101)} {
		text = bad
		_, err := secret.OpenSafe(t.Context(), openDB(t, t.TempDir()), keys())
		if !errors.Is(err, ci.ErrInvalid) || strings.Contains(err.Error(), "sw0rdfish") || strings.Contains(err.Error(), k1) {
			t.Errorf("%.20q: got %v", bad, err)
		}
	}
}

func TestKeyFileGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	file := filepath.Join(dir, "master.key")
	s := openSafe(t, db, secret.KeyFile(file))
	if _, err := s.Add(t.Context(), "", "/a", "", "v", ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.OpenSafe(t.Context(), db, secret.KeyFile(file)); !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("got %v; want no new key made in its place", err)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := openSafe(t, db, secret.KeyFile(file)).Settle(t.Context()); !errors.Is(err, ci.ErrDenied) {
		t.Errorf("a key that others can read: got %v", err)
	}
}
