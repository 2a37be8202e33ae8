package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

// inhabited is a database in which something is of most kinds.
func inhabited(t *testing.T, url string) {
	t.Helper()
	ctx := t.Context()
	db, err := store.OpenDB(ctx, url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"app", "size"} {
		_, err := db.PutProject(ctx, ci.Project{Name: name, Description: "tabs\tquotes \" ' \\ and \u2028 lines\nzwei"})
		must(err)
	}
	for i := range 250 { // more than one statement of a copy
		b, _, err := db.Create(ctx, ci.Build{ID: ci.BuildID(fmt.Sprintf("b%03d", i)), Project: "app", Queued: time.Unix(int64(i), 7)}, fmt.Sprintf("key-%d", i))
		must(err)
		b.Status = ci.Running
		must(db.Append(ctx, ci.NewEvent(ci.EventBuildStarted, b)))
	}
	_, err = db.PutUser(ctx, ci.User{Name: "ann"})
	must(err)
	must(db.PutToken(ctx, ci.Token{ID: "t1", User: "ann", Hash: "h"}))
	must(db.Lease(ctx, "b001/build", "me", time.Hour))
	// What is deleted last leaves numbers behind that must not be given again.
	b, _, err := db.Load(ctx, "b249")
	must(err)
	b.Status = ci.Succeeded
	must(db.Append(ctx, ci.NewEvent(ci.EventBuildFinished, b)))
	must(db.DeleteBuild(ctx, "b249"))
	must(db.Close())
}

func dump(t *testing.T, url string) (string, store.Copied) {
	t.Helper()
	s, err := store.OpenSnapshot(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var text bytes.Buffer
	done, err := s.Dump(t.Context(), &text)
	if err != nil {
		t.Fatal(err)
	}
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the database is not sound: %v, %v", wrong, err)
	}
	return text.String(), done
}

// ends are the lines of a dump that say how many rows there are, and which.
func ends(text string) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, `{"end"`) && !yield(line) {
				return
			}
		}
	})
}

// TestCopyBetweenDatabases takes a database to each kind of database and back.
func TestCopyBetweenDatabases(t *testing.T) {
	each(t, func(t *testing.T, from string) {
		inhabited(t, from)
		for kind, empty := range map[string]func(testing.TB) string{"sqlite": sqliteURL, "postgres": postgresURL} {
			t.Run(kind, func(t *testing.T) { copyTo(t, from, empty(t)) })
		}
	})
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	text, done := dump(t, from)
	got, err := store.LoadDump(t.Context(), to, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(done) || done.Rows["builds"] != 249 || done.Rows["tokens"] != 1 {
		t.Errorf("copied %v, of %v", got, done)
	}
	again, _ := dump(t, to)
	if g, w := ends(again), ends(text); !slices.Equal(g, w) {
		t.Errorf("the copy has\n%swant\n%s", strings.Join(g, ""), strings.Join(w, ""))
	}
	if _, err := store.LoadDump(t.Context(), to, strings.NewReader(text)); !errors.Is(err, ci.ErrConflict) {
		t.Errorf("into a database that is in use: %v, want ErrConflict", err)
	}
	db := openURL(t, to)
	next, made, err := db.Create(t.Context(), ci.Build{ID: "next", Project: "app"}, "")
	if err != nil || !made || next.Number != 251 {
		t.Errorf("the next build of the copy is %d, %v", next.Number, err)
	}
	before, _, err := db.Load(t.Context(), "b007")
	if err != nil || before.Status != ci.Running || before.Number != 8 {
		t.Errorf("a build of the copy: %+v, %v", before, err)
	}
	stamped, err := db.Events(t.Context(), 0, 10_000)
	if n := len(stamped); err != nil || n == 0 || stamped[n-1].Build != "next" || stamped[n-1].Cursor <= 501 {
		t.Errorf("the newest event is not of the build made last, or has a number that was given: %+v, %v", stamped[max(0, n-1):], err)
	}
}

// TestCopyHoldsEveryTable puts a row into each table that there is, so that one
// which somebody adds is copied too, or this says what of it cannot be.
func TestCopyHoldsEveryTable(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	inhabited(t, url)
	db := raw(t, url)
	var names []string
	query(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'", &names)
	for _, name := range names {
		var rows, columns []string
		query(t, db, "SELECT COUNT(*) FROM "+name, &rows)
		if rows[0] != "0" || name == "schema_version" || name == "writers" {
			continue
		}
		var values []string
		query(t, db, "SELECT name FROM pragma_table_info('"+name+"') ORDER BY cid", &columns)
		query(t, db, "SELECT CASE WHEN type LIKE '%INT%' THEN '12345678901' WHEN type = 'TEXT' THEN '''app''' ELSE 'x''00ff''' END FROM pragma_table_info('"+name+"') ORDER BY cid", &values)
		for try := range columns {
			_, err := db.ExecContext(t.Context(), "INSERT INTO "+name+" VALUES ("+strings.Join(values, ", ")+")")
			if err == nil {
				break
			}
			// What a column permits is in the message.
			m := regexp.MustCompile(`CHECK constraint failed: (\w+) IN \(('[^']*')`).FindStringSubmatch(err.Error())
			if m == nil || try == len(columns)-1 {
				t.Errorf("table %s: %v; let inhabited put a row into it", name, err)
				break
			}
			values[slices.Index(columns, m[1])] = m[2]
		}
	}
	text, done := dump(t, url)
	for _, name := range names {
		if n, ok := done.Rows[name]; name != "schema_version" && name != "writers" && (!ok || n == 0) {
			t.Errorf("table %s is not in the copy", name)
		}
	}
	to := sqliteURL(t)
	if _, err := store.LoadDump(t.Context(), to, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if again, _ := dump(t, to); again != text {
		t.Errorf("a copy of the copy differs:\n%s", again)
	}
}

func query(t *testing.T, db *sql.DB, text string, into *[]string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		*into = append(*into, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestLoadDumpRefusesDamage: whatever is missing or changed, nothing is stored.
func TestLoadDumpRefusesDamage(t *testing.T) {
	t.Parallel()
	from, to := sqliteURL(t), sqliteURL(t)
	db := openURL(t, from)
	if err := db.Append(t.Context(), storetest.Queued("b")); err != nil {
		t.Fatal(err)
	}
	text, _ := dump(t, from)
	lines := strings.SplitAfter(text, "\n")
	try := func(what, text string) {
		t.Helper()
		if _, err := store.LoadDump(t.Context(), to, strings.NewReader(text)); !errors.Is(err, ci.ErrInvalid) && !errors.Is(err, ci.ErrConflict) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	for i := range lines[:len(lines)-1] {
		try(fmt.Sprintf("without line %d, %.60q", i, lines[i]), strings.Join(slices.Delete(slices.Clone(lines), i, i+1), ""))
		try(fmt.Sprintf("cut before line %d", i), strings.Join(lines[:i], ""))
		try(fmt.Sprintf("with line %d twice", i), strings.Join(slices.Insert(slices.Clone(lines), i, lines[i]), ""))
	}
	try("with another number", strings.Replace(text, `"b",`, `"c",`, 1))
	try("of a newer schema", strings.Replace(text, `"schema":`, `"schema":9`, 1))
	try("with a table's name of somebody's own", strings.Replace(text, `"table":"projects"`, `"table":"projects; DROP TABLE builds"`, 1))
	try("with a column's name of somebody's own", strings.Replace(text, `"name"`, `"name\" FROM users; --"`, 1))
	if _, err := store.LoadDump(t.Context(), to, strings.NewReader(text)); err != nil {
		t.Errorf("after all that the database is not as good as new: %v", err)
	}
}

// TestDumpWhileOthersWrite: each copy is one state, with whole builds.
func TestDumpWhileOthersWrite(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		defer writers.Wait()
		defer stop()
		for w := range 3 {
			writers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					b, _, err := db.Create(t.Context(), ci.Build{ID: ci.BuildID(fmt.Sprintf("w%d-%d", w, i)), Project: fmt.Sprint("p", w)}, "")
					if err == nil {
						b.Status = ci.Running
						err = db.Append(t.Context(), ci.NewEvent(ci.EventBuildStarted, b))
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 5 {
			text, done := dump(t, url)
			to := sqliteURL(t)
			if _, err := store.LoadDump(t.Context(), to, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			s, err := store.OpenSnapshot(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := s.Builds(t.Context())
			if err != nil || int64(len(ids)) != done.Rows["builds"] {
				t.Errorf("%d builds, %v; want %d", len(ids), err, done.Rows["builds"])
			}
			for _, id := range ids {
				if _, err := s.Build(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
			if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
				t.Error(wrong, err)
			}
			_ = s.Close()
		}
	})
}

// TestLoadDumpOfAnOlderSchema: a copy made by an earlier release is brought up to date.
func TestLoadDumpOfAnOlderSchema(t *testing.T) {
	each(t, func(t *testing.T, to string) {
		from := sqliteURL(t)
		text, err := os.ReadFile("testdata/v1.sqlite.sql")
		if err != nil {
			t.Fatal(err)
		}
		run(t, raw(t, from), string(text))
		copied, done := dump(t, from)
		if done.Schema != 1 {
			t.Fatalf("the copy is of version %d", done.Schema)
		}
		if _, err := store.LoadDump(t.Context(), to, strings.NewReader(copied)); err != nil {
			t.Fatal(err)
		}
		db := openURL(t, to)
		if b, _, err := db.Load(t.Context(), "01m82abcdefghjkmnpqr"); err != nil || b.Number != 41 {
			t.Errorf("%+v, %v", b, err)
		}
		if _, err := db.PutProject(t.Context(), ci.Project{Name: "shop"}); err != nil {
			t.Errorf("what later versions brought: %v", err)
		}
	})
}

// TestSnapshotSeesDamage: what Check says of databases that are not sound.
func TestSnapshotSeesDamage(t *testing.T) {
	t.Parallel()
	url := sqliteURL(t)
	inhabited(t, url)
	db := raw(t, url)
	for _, text := range []string{
		"PRAGMA foreign_keys = 0", "DELETE FROM events WHERE build = 'b005'", "DELETE FROM builds WHERE id = 'b006'",
		"UPDATE counters SET last = 3", "DELETE FROM events WHERE build = 'b007' AND seq = 1",
	} {
		run(t, db, text)
	}
	s, err := store.OpenSnapshot(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wrong, err := s.Check(t.Context())
	for _, want := range []string{"refers to a row of builds that is missing", "build b005 has no events", "events of build b006", "a number that was not given yet"} {
		if !strings.Contains(strings.Join(wrong, "\n"), want) || err != nil {
			t.Errorf("got %q, %v; want %q", wrong, err, want)
		}
	}
	if _, err := s.Build(t.Context(), "b007"); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("a build without its first event: %v, want ErrInvalid", err)
	}
	if _, err := store.OpenSnapshot(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "none")); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("a file that is not there: %v, want ErrNotFound", err)
	}
}
