package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

// raw is the database without a DB.
func raw(t *testing.T, url string) *sql.DB {
	t.Helper()
	driver, name := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, name = "sqlite", path
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// known is the version of the schema that the migrations lead to.
func known(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		if err := openURL(t, url).Close(); err != nil {
			t.Fatal(err)
		}
		run(t, raw(t, url), "INSERT INTO schema_version (version, name, applied) VALUES (99, 'from the future', 0)")
		_, err := store.OpenDB(t.Context(), url, store.Options{})
		if !errors.Is(err, ci.ErrConflict) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), fmt.Sprintf("up to %d;", known(t))) {
			t.Errorf("got %v, want ErrConflict that names both versions", err)
		}
	})
}

// testdata/v1.*.sql is a database as version 1 of the schema left it. It is
// never changed.
func TestOpenUpgradesVersion1(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		name := "testdata/v1.sqlite.sql"
		if strings.HasPrefix(url, "postgres") {
			name = "testdata/v1.postgres.sql"
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		old := raw(t, url)
		run(t, old, string(text))
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		db := openURL(t, url)
		ctx := t.Context()
		b, events, err := db.Load(ctx, "01m82abcdefghjkmnpqr")
		if err != nil || b.Status != ci.Running || len(events) != 2 || b.Number != 41 {
			t.Fatalf("got %+v with %d events, %v", b, len(events), err)
		}
		b.Status = ci.Succeeded
		if err := db.Append(ctx, ci.NewEvent(ci.EventBuildFinished, b)); err != nil {
			t.Fatal(err)
		}
		next, made, err := db.Create(ctx, ci.Build{ID: "next", Project: "shop"}, "push-2")
		if err != nil || !made || next.Number != 42 {
			t.Errorf("got number %d, made %v, %v", next.Number, made, err)
		}
		earlier, made, err := db.Create(ctx, ci.Build{ID: "again", Project: "shop"}, "push-1")
		if err != nil || made || earlier.Number != 41 || earlier.Status != ci.Succeeded {
			t.Errorf("a key of version 1: got number %d, %s, made %v, %v", earlier.Number, earlier.Status, made, err)
		}
		if _, err := db.PutProject(ctx, ci.Project{Name: "shop"}); err != nil {
			t.Errorf("what version 2 brought: %v", err)
		}
		var versions int
		if err := raw(t, url).QueryRowContext(ctx, "SELECT COUNT(*) FROM schema_version").Scan(&versions); err != nil || versions != known(t) {
			t.Errorf("%d versions are noted, %v; want %d", versions, err, known(t))
		}
	})
}

func TestOpenTakesAnSQLiteFileOnce(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	first := openURL(t, url)
	_, err := store.OpenDB(t.Context(), url, store.Options{})
	if !errors.Is(err, ci.ErrConflict) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("got %v, want ErrConflict that names this process", err)
	}
	if err := first.Append(t.Context(), storetest.Queued("b")); err != nil {
		t.Errorf("the first, after that: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	b, _, err := openURL(t, url).Load(t.Context(), "b")
	if err != nil || b.Status != ci.Queued {
		t.Errorf("after the first has closed: %s, %v", b.Status, err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, kind := range map[string]error{
		"":                                    ci.ErrInvalid,
		"sqlite:":                             ci.ErrInvalid,
		":memory:":                            ci.ErrInvalid,
		"mysql://u:secret@h/d":                ci.ErrInvalid,
		"postgres://%zz":                      ci.ErrInvalid,
		"postgres://u:secret@127.0.0.1:1/d":   ci.ErrUnavailable,
		"postgres://u:secret@127.0.0.1:bad/d": ci.ErrInvalid,
		"sqlite:" + text:                      nil,
		filepath.Join(text, "below"):          nil,
	} {
		db, err := store.OpenDB(t.Context(), url, store.Options{})
		if err == nil {
			_ = db.Close()
		}
		if err == nil || kind != nil && !errors.Is(err, kind) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %v without the password", url, err, kind)
		}
	}
}

func TestClosedDBSaysSo(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		if err := db.Append(t.Context(), storetest.Queued("b")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := db.Append(t.Context(), storetest.Started("b")); !errors.Is(err, ci.ErrUnavailable) {
			t.Errorf("append: %v, want ErrUnavailable", err)
		}
	})
}

// What is given up before its turn is not done; what was begun is answered for.
func TestCanceledWriteSaysTheTruth(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		for n := range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			id := ci.BuildID(fmt.Sprint("b", n))
			answer := make(chan error)
			go func() { answer <- db.Append(ctx, storetest.Queued(id)) }()
			if n%3 == 0 {
				cancel()
			}
			err := <-answer
			cancel()
			_, _, loadErr := db.Load(t.Context(), id)
			if (err == nil) != (loadErr == nil) {
				t.Fatalf("build %s: append says %v, load says %v", id, err, loadErr)
			}
		}
	})
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	db := openURL(t, filepath.Join(dir, "sluice.db"))
	if err := db.Append(t.Context(), storetest.Queued("b")); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v: others can read it", f.Name(), info.Mode(), err)
		}
	}
	if len(files) < 3 {
		t.Errorf("%d files: the database, its log and the lock were expected", len(files))
	}
}
