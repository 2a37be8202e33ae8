package ci_test

import (
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestForecast(t *testing.T) {
	t.Parallel()
	used := ci.Spent{Minutes: 30, Cost: 1.5, Percent: 10}
	for at, times := range map[string]float64{
		"2026-11-01T00:00:01Z": 30, // the first day counts whole
		"2026-11-02T00:00:00Z": 30, "2026-11-16T00:00:00Z": 2, "2026-11-30T23:59:59Z": 1, "2027-02-15T00:00:00Z": 2,
		"2026-10-31T22:00:00-04:00": 30, // in UTC it is November
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		got := used.Forecast(now)
		if diff := got.Minutes - 30*times; diff > 0.01 || diff < -0.01 || got.Cost < 1.499*times || got.Cost > 1.501*times || got.Percent < 9.99*times {
			t.Errorf("%s: got %+v, want %v times %+v", at, got, times, used)
		}
	}
}

func TestBudgetPercent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		b             ci.Budget
		minutes, cost float64
		percent       float64
	}{
		{ci.Budget{Minutes: 200}, 50, 99, 25}, {ci.Budget{Cost: 4}, 50, 1, 25}, {ci.Budget{Minutes: 100, Cost: 4}, 50, 1, 50}, {ci.Budget{}, 50, 1, 0},
	} {
		if got := c.b.Percent(c.minutes, c.cost); got != c.percent {
			t.Errorf("%+v: got %v, want %v", c.b, got, c.percent)
		}
	}
}
