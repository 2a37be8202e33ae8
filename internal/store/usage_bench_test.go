package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// BenchmarkJobFinished stores the end of jobs: such that held nothing, such that
// are metered, and such that count for two budgets as well.
func BenchmarkJobFinished(b *testing.B) {
	for _, c := range []struct {
		name    string
		held    time.Duration
		budgets int
	}{{"bare", 0, 0}, {"metered", time.Minute, 0}, {"budgets", time.Minute, 2}} {
		b.Run(c.name, func(b *testing.B) {
			db := openWith(b, sqliteURL(b), store.Options{})
			ctx := b.Context()
			for _, project := range []string{"p", ""}[:c.budgets] {
				if _, err := db.PutBudget(ctx, ci.Budget{Project: project, Minutes: 1e9, Warn: []int{50, 80}}); err != nil {
					b.Fatal(err)
				}
			}
			rec, _, err := db.Create(ctx, ci.Build{ID: "b", Project: "p"}, "")
			if err != nil {
				b.Fatal(err)
			}
			rec.Status = ci.Running
			if err := db.Append(ctx, ci.NewEvent(ci.EventBuildStarted, rec)); err != nil {
				b.Fatal(err)
			}
			ended := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
			b.ResetTimer()
			for n := range b.N {
				j := ci.JobRun{ID: rec.ID.Job(fmt.Sprint("j", n), 1), Status: ci.Queued}
				done := j
				done.Status, done.Ended = ci.Errored, ended
				if c.held > 0 {
					done.Started = ended.Add(-c.held)
				}
				if err := db.Append(ctx, ci.NewEvent(ci.EventJobQueued, j), ci.NewEvent(ci.EventJobFinished, done)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
