package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func benchEach(b *testing.B, bench func(b *testing.B, db *store.DB)) {
	for _, name := range []string{"sqlite", "postgres"} {
		b.Run(name, func(b *testing.B) {
			url := ""
			if name == "postgres" {
				url = postgresURL(b)
			} else {
				url = sqliteURL(b)
			}
			bench(b, openURL(b, url))
		})
	}
}

func someBuild(id string, n int) ci.Build {
	return ci.Build{
		ID: ci.BuildID(id), Project: fmt.Sprintf("project-%d", n%100), Initiator: "webhook", File: "buildspec.yml",
		Source: ci.Source{Type: "git", Location: "https://example.com/team/repository.git", Version: "refs/heads/main"},
		Commit: ci.Commit{Hash: fmt.Sprintf("%040x", n), Ref: "refs/heads/main", Author: "Ann Example", Subject: "make it faster"},
		Queued: time.Unix(1_800_000_000, int64(n)*1e6).UTC(), Runtime: ci.Runtime{Image: "sluice/standard:1", Size: "BUILD_GENERAL1_SMALL"},
	}
}

// BenchmarkCreate is one durable new build, by 8 clients; the floor beside it is
// a file that 8 clients append to, synced for each.
func BenchmarkCreate(b *testing.B) {
	benchEach(b, func(b *testing.B, db *store.DB) {
		clients(b, func(ctx context.Context, n int) error {
			_, _, err := db.Create(ctx, someBuild(fmt.Sprintf("b%09d", n), n), fmt.Sprint("key", n))
			return err
		})
	})
	b.Run("floor", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		line := []byte(strings.Repeat("x", 2000))
		clients(b, func(context.Context, int) error {
			if _, err := f.Write(line); err != nil {
				return err
			}
			return f.Sync()
		})
	})
}

func clients(b *testing.B, do func(context.Context, int) error) {
	b.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range 8 {
		wg.Go(func() {
			for {
				i := int(n.Add(1))
				if i > b.N {
					return
				}
				if err := do(b.Context(), i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkBuilds is a page of 50 with 100,000 builds stored.
func BenchmarkBuilds(b *testing.B) {
	benchEach(b, func(b *testing.B, db *store.DB) {
		var n atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for i := int(n.Add(1)); i <= 100_000; i = int(n.Add(1)) {
					if _, _, err := db.Create(b.Context(), someBuild(fmt.Sprintf("b%09d", i), i), ""); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		for name, f := range map[string]store.Filter{
			"all":        {},
			"project":    {Project: "project-7"},
			"status":     {Project: "project-7", Status: []ci.Status{ci.Queued, ci.Failed}},
			"statusNone": {Status: []ci.Status{ci.Running, ci.Failed}},
			"branch":     {Project: "project-7", Ref: "main"},
			"old":        {Until: time.Unix(1_800_000_000, 50e6)},
		} {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					if _, _, err := db.Builds(b.Context(), f); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}
