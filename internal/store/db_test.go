package store_test

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

// postgresURL is that of an empty schema, which goes when the test ends.
func postgresURL(t testing.TB) string {
	t.Helper()
	server := os.Getenv("SLUICE_TEST_POSTGRES")
	if server == "" {
		t.Skip("SLUICE_TEST_POSTGRES is not set: test/engines/postgres.sh start prints it")
	}
	admin, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	schema := "test_" + strings.ToLower(rand.Text())
	if _, err := admin.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			t.Error(err)
		}
		_ = admin.Close()
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

func sqliteURL(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "sluice.db")
}

func openURL(t testing.TB, url string) *store.DB {
	t.Helper()
	return openWith(t, url, store.Options{})
}

func openWith(t testing.TB, url string, o store.Options) *store.DB {
	t.Helper()
	db, err := store.OpenDB(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// each runs a test on both databases; url gives an empty one.
func each(t *testing.T, test func(t *testing.T, url string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, sqliteURL(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, postgresURL(t))
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("journal", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return open(t, t.TempDir()) })
	})
	t.Run("sqlite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return openURL(t, sqliteURL(t)) })
	})
	t.Run("postgres", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return openURL(t, postgresURL(t)) })
	})
}
