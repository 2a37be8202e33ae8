package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/sluice-ci/sluice/internal/ci"
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
	t.Run("replicas", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Store { return &turns{dbs: replicas(t, postgresURL(t))} })
	})
}

// turns asks several processes' stores in turn: whatever one of them remembers of
// a build, another may have changed.
type turns struct {
	dbs  []*store.DB
	next atomic.Int64
}

func (s *turns) db() *store.DB { return s.dbs[int(s.next.Add(1))%len(s.dbs)] }

func (s *turns) Create(ctx context.Context, b ci.Build, key string) (ci.Build, bool, error) {
	return s.db().Create(ctx, b, key)
}

func (s *turns) Append(ctx context.Context, events ...ci.Event) error {
	return s.db().Append(ctx, events...)
}

func (s *turns) Open(ctx context.Context) ([]ci.Build, error) { return s.db().Open(ctx) }

func (s *turns) Load(ctx context.Context, id ci.BuildID) (ci.Build, []ci.Event, error) {
	return s.db().Load(ctx, id)
}
