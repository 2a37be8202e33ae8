package store_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func sums(rows []ci.UsageRow) (jobs int64, minutes float64) {
	for _, r := range rows {
		jobs += r.Jobs
		minutes += r.Minutes
	}
	return jobs, minutes
}

// built stores a build that ended, with one job for each charge.
func built(t *testing.T, db *store.DB, b ci.Build, ended time.Time, charges ...ci.Charge) {
	t.Helper()
	b.Status = ci.Queued
	b, _, err := db.Create(t.Context(), b, "")
	if err != nil {
		t.Fatal(err)
	}
	b.Status = ci.Running
	events := []ci.Event{ci.NewEvent(ci.EventBuildStarted, b)}
	for i, c := range charges {
		j := ci.JobRun{ID: b.ID.Job(fmt.Sprint("j", i), 1), Name: fmt.Sprint("j", i), Status: ci.Queued}
		queued := j
		j.Status, j.Started = ci.Running, ended.Add(-time.Duration(c.Seconds)*time.Second)
		begun := j
		j.Status, j.Ended, j.Charge = ci.Succeeded, ended, &c
		events = append(events, ci.NewEvent(ci.EventJobQueued, queued), ci.NewEvent(ci.EventJobStarted, begun), ci.NewEvent(ci.EventJobFinished, j))
	}
	b.Status = ci.Succeeded
	if err := db.Append(t.Context(), append(events, ci.NewEvent(ci.EventBuildFinished, b))...); err != nil {
		t.Fatal(err)
	}
}

func small(seconds int64) ci.Charge {
	c := ci.Charge{Executor: "docker", Type: "LINUX_CONTAINER", Size: "BUILD_GENERAL1_SMALL"}
	return c.Meter(time.Duration(seconds)*time.Second, ci.Rate{Price: 0.005, Currency: "USD"})
}

// wanted builds: two of web by ada on two branches and days, one of shop by ben.
func usageOf3(t *testing.T, db *store.DB) {
	t.Helper()
	night := time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC)
	built(t, db, ci.Build{ID: "a", Project: "web", Initiator: "ada", Commit: ci.Commit{Ref: "refs/heads/main"}}, night, small(61), small(1))
	// The same night, told in another zone: the day is that of UTC.
	built(t, db, ci.Build{ID: "b", Project: "web", Initiator: "ada", Source: ci.Source{Version: "topic"}}, night.Add(time.Second).In(time.FixedZone("west", -5*3600)), small(60))
	built(t, db, ci.Build{ID: "c", Project: "shop", Initiator: "ben"}, night, ci.Charge{Executor: "local"}.Meter(time.Hour, ci.Rate{}))
}

func TestUsageIsAddedUp(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		usageOf3(t, db)
		for _, c := range []struct {
			name string
			f    store.UsageFilter
			want string
		}{
			{"sums", store.UsageFilter{}, "[]:1/1/60/0 [USD]:2/3/4/0.02"},
			{"project", store.UsageFilter{By: []string{"project"}}, "[shop ]:1/1/60/0 [web USD]:2/3/4/0.02"},
			{"day first", store.UsageFilter{By: []string{"day", "user"}}, "[2026-11-30 ada USD]:1/2/3/0.015 [2026-11-30 ben ]:1/1/60/0 [2026-12-01 ada USD]:1/1/1/0.005"},
			{"branch", store.UsageFilter{By: []string{"branch"}, Project: "web"}, "[refs/heads/main USD]:1/2/3/0.015 [topic USD]:1/1/1/0.005"},
			{"month", store.UsageFilter{By: []string{"month"}, User: "ada"}, "[2026-11 USD]:1/2/3/0.015 [2026-12 USD]:1/1/1/0.005"},
			{"place", store.UsageFilter{By: []string{"executor", "type", "size"}}, "[docker LINUX_CONTAINER BUILD_GENERAL1_SMALL USD]:2/3/4/0.02 [local   ]:1/1/60/0"},
			{"since", store.UsageFilter{By: []string{"project"}, Since: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)}, "[web USD]:1/1/1/0.005"},
			{"until", store.UsageFilter{By: []string{"project"}, Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Branch: "main"}, "[web USD]:1/2/3/0.015"},
			{"only", store.UsageFilter{By: []string{"project"}, Projects: []string{"shop", "none"}}, "[shop ]:1/1/60/0"},
			{"nothing", store.UsageFilter{Projects: []string{}}, ""},
		} {
			for _, limit := range []int{0, 1} {
				if got := listUsage(t, db, c.f, limit); got != c.want {
					t.Errorf("%s, %d in a page:\n got %s\nwant %s", c.name, limit, got, c.want)
				}
			}
		}
	})
}

// listUsage reads all pages.
func listUsage(t *testing.T, db *store.DB, f store.UsageFilter, limit int) string {
	t.Helper()
	f.Limit = limit
	var out []string
	for {
		page, next, err := db.Usage(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			var key []string
			fields := map[string]string{"day": r.Day, "month": r.Month, "project": r.Project, "branch": r.Branch, "user": r.User, "executor": r.Executor, "type": r.Type, "size": r.Size}
			for _, k := range f.By {
				key = append(key, fields[k])
			}
			out = append(out, fmt.Sprintf("%v:%d/%d/%v/%v", append(key, r.Currency), r.Builds, r.Jobs, r.Minutes, r.Cost))
		}
		if f.Cursor = next; next == "" {
			return strings.Join(out, " ")
		}
	}
}

func TestUsageRefuses(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		usageOf3(t, db)
		_, cursor, err := db.Usage(t.Context(), store.UsageFilter{By: []string{"project"}, Limit: 1})
		if err != nil || cursor == "" {
			t.Fatalf("got cursor %q, %v", cursor, err)
		}
		for name, f := range map[string]store.UsageFilter{
			"a key that is none": {By: []string{"1; DROP TABLE metered"}}, "a key twice": {By: []string{"day", "day"}}, "a limit": {Limit: -1},
			"a cursor of another list": {By: []string{"user"}, Cursor: cursor}, "a cursor that is none": {Cursor: "AAAAAAAA"}, "a cursor changed": {By: []string{"project"}, Cursor: "A" + cursor[1:]},
		} {
			_, _, err := db.Usage(t.Context(), f)
			want(t, name, err, ci.ErrInvalid)
		}
	})
}

// Usage outlives builds and projects, and a job's end is charged once.
func TestUsageOutlivesBuilds(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		if _, err := db.PutProject(ctx, ci.Project{Name: "web"}); err != nil {
			t.Fatal(err)
		}
		usageOf3(t, db)
		before := listUsage(t, db, store.UsageFilter{By: ci.UsageKeys()}, 0)
		j := ci.JobRun{ID: "a/j0", Name: "j0", Status: ci.Succeeded, Started: time.Unix(1, 0), Ended: time.Unix(100, 0)}
		want(t, "a second end", db.Append(ctx, ci.NewEvent(ci.EventJobFinished, j)), ci.ErrConflict)
		if err := db.DeleteBuild(ctx, "c"); err != nil {
			t.Fatal(err)
		}
		if err := db.DeleteProject(ctx, "web", true); err != nil {
			t.Fatal(err)
		}
		if added, err := db.RebuildUsage(ctx); err != nil || added != 0 {
			t.Errorf("rebuild: got %d, %v; want nothing added", added, err)
		}
		if got := listUsage(t, db, store.UsageFilter{By: ci.UsageKeys()}, 0); got != before {
			t.Errorf("after builds were deleted:\n got %s\nwant %s", got, before)
		}
	})
}

// What is missing comes back from the builds, and jobs of a database from before
// there was metering are metered when it is opened.
func TestUsageIsRebuilt(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		usageOf3(t, db)
		rows, _, err := db.Usage(t.Context(), store.UsageFilter{By: ci.UsageKeys()})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		inside := raw(t, url)
		run(t, inside, "DELETE FROM metered WHERE build <> 'b'")
		run(t, inside, "DELETE FROM spending")
		if err := inside.Close(); err != nil {
			t.Fatal(err)
		}
		db = openURL(t, url)
		// The first opening may have been over before it had looked for jobs to
		// meter; then this one does some of it beside.
		if added, err := db.RebuildUsage(t.Context()); err != nil || added > 3 {
			t.Errorf("rebuild: got %d, %v; want 3 jobs added at most", added, err)
		}
		got, _, err := db.Usage(t.Context(), store.UsageFilter{By: ci.UsageKeys()})
		if err != nil || !reflect.DeepEqual(got, rows) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, rows)
		}
	})
}
