package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// alerts are the events about budgets, in the order of their commits.
func alerts(t *testing.T, db *store.DB) string {
	t.Helper()
	all, err := db.Events(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		if e.Seq > 0 {
			continue
		}
		var a ci.BudgetAlert
		if err := json.Unmarshal(e.Data, &a); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %q %d%% %v min %v", e.Build, e.Type, a.Budget.Project, a.Level, a.Spent.Minutes, a.Spent.Cost))
	}
	return strings.Join(out, "\n")
}

func TestBudgetWarnsOnceAndStops(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		now := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
		db := openWith(t, url, store.Options{Now: func() time.Time { return now }})
		ctx := t.Context()
		put := func(b ci.Budget) {
			t.Helper()
			if _, err := db.PutBudget(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		put(ci.Budget{Project: "web", Minutes: 10, Currency: "USD", Warn: []int{80, 50}})
		put(ci.Budget{Cost: 0.1, Currency: "USD", Warn: []int{90}, WarnOnly: true})
		refused := func(what string) {
			t.Helper()
			_, _, err := db.Create(ctx, ci.Build{ID: "no", Project: "web"}, "new")
			var over *ci.OverBudget
			if !errors.As(err, &over) || !errors.Is(err, ci.ErrDenied) || over.Budget.Project != "web" {
				t.Fatalf("%s: got %v, want that the budget of web is used up", what, err)
			}
		}
		web := func(id ci.BuildID, ended time.Time, c ...ci.Charge) {
			built(t, db, ci.Build{ID: id, Project: "web"}, ended, c...)
		}
		web("last", now.AddDate(0, -1, 0), small(3600)) // last month's
		web("a", now, small(4*60), small(60))           // 5 of 10 minutes
		web("b", now, small(60))
		web("c", now, small(2*60), small(60)) // 9
		built(t, db, ci.Build{ID: "other", Project: "shop"}, now, small(20*60))
		web("d", now, small(10*60)) // 19: from 90 to 190 percent
		if got, want := alerts(t, db), `last budget_warning "" 90% 60 min 0.3
last budget_warning "" 100% 60 min 0.3
last budget_warning "web" 50% 60 min 0.3
last budget_warning "web" 80% 60 min 0.3
last budget_stopped "web" 100% 60 min 0.3
a budget_warning "web" 50% 5 min 0.025
c budget_warning "web" 80% 8 min 0.04
other budget_warning "" 90% 29 min 0.145
other budget_warning "" 100% 29 min 0.145
d budget_stopped "web" 100% 19 min 0.095`; sortAlerts(got) != sortAlerts(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		refused("used up")
		if _, _, err := db.Create(ctx, ci.Build{ID: "shop2", Project: "shop"}, ""); err != nil {
			t.Errorf("a project without a budget, on a server that only warns: %v", err)
		}
		s, err := db.Budget(ctx, "web")
		if err != nil || !s.Stopped || s.Spent.Minutes != 19 || s.Spent.Percent != 190 || s.Forecast.Minutes != 57 || len(s.Reached) != 3 {
			t.Errorf("got %+v, %v; want 19 minutes, 57 at the end of the month", s, err)
		}
		// Events about budgets are no part of the build's.
		b, events, err := db.Load(ctx, "d")
		if err != nil || !b.Status.Done() || events[0].Seq != 1 || len(events) != 6 {
			t.Errorf("got %d events of a build that is %s, %v", len(events), b.Status, err)
		}
		put(ci.Budget{Project: "web", Minutes: 10, Override: "2026-11"})
		if _, _, err := db.Create(ctx, ci.Build{ID: "lifted", Project: "web"}, "k"); err != nil {
			t.Errorf("lifted: %v", err)
		}
		put(ci.Budget{Project: "web", Minutes: 10})
		refused("no longer lifted")
		if got, made, err := db.Create(ctx, ci.Build{ID: "again", Project: "web"}, "k"); err != nil || made || got.ID != "lifted" {
			t.Errorf("a key of a build that there is: got %s, made %v, %v", got.ID, made, err)
		}
		put(ci.Budget{Project: "web", Minutes: 20, Currency: "USD", Warn: []int{90}})
		before := alerts(t, db)
		web("e", now, small(60)) // 20 of 20: the level of 100 counts anew, that of 90 is new
		if got, want := strings.TrimPrefix(alerts(t, db), before+"\n"), "e budget_warning \"web\" 90% 20 min 0.1\ne budget_stopped \"web\" 100% 20 min 0.1"; got != want {
			t.Errorf("after it was raised: got\n%s\nwant\n%s", got, want)
		}
		now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
		if _, _, err := db.Create(ctx, ci.Build{ID: "december", Project: "web"}, ""); err != nil {
			t.Errorf("in the next month: %v", err)
		}
		if err := db.DeleteBudget(ctx, "web"); err != nil {
			t.Error(err)
		}
		if s, err := db.Budget(ctx, "web"); err != nil || s.Stopped || s.Minutes != 0 || len(s.Reached) != 0 {
			t.Errorf("a budget that is gone: got %+v, %v", s, err)
		}
		if list, err := db.Budgets(ctx); err != nil || len(list) != 1 || list[0].Project != "" {
			t.Errorf("got %+v, %v; want that of the server", list, err)
		}
	})
}

// sortAlerts orders those of one build, which come in no order that matters.
func sortAlerts(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		for k := i; k > 0 && strings.Fields(lines[k])[0] == strings.Fields(lines[k-1])[0] && lines[k] < lines[k-1]; k-- {
			lines[k], lines[k-1] = lines[k-1], lines[k]
		}
	}
	return strings.Join(lines, "\n")
}

// Of many jobs that end at once, in several processes, one brings a level about.
func TestBudgetLevelIsToldOnce(t *testing.T) {
	t.Parallel()
	dbs := replicas(t, postgresURL(t))
	if _, err := dbs[0].PutBudget(t.Context(), ci.Budget{Minutes: 10}); err != nil {
		t.Fatal(err)
	}
	ended := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	all := make([]ci.Build, 30)
	for n := range all {
		var err error
		if all[n], _, err = dbs[n%len(dbs)].Create(t.Context(), ci.Build{ID: ci.BuildID(fmt.Sprint("b", n)), Project: "p"}, ""); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for n, b := range all {
		wg.Go(func() {
			j := ci.JobRun{ID: b.ID.Job("j", 1), Status: ci.Queued}
			done := j
			done.Status, done.Started, done.Ended = ci.Errored, ended.Add(-time.Second), ended
			b.Status = ci.Running
			if err := dbs[n%len(dbs)].Append(t.Context(), ci.NewEvent(ci.EventBuildStarted, b), ci.NewEvent(ci.EventJobQueued, j), ci.NewEvent(ci.EventJobFinished, done)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := alerts(t, dbs[0]); strings.Count(got, "\n") != 0 || !strings.Contains(got, "100% 10 min") {
		t.Errorf("got\n%s\nwant one, at the tenth minute", got)
	}
}
