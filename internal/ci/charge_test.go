package ci_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestMeterRoundsUp(t *testing.T) {
	t.Parallel()
	minute := ci.Rate{Price: 0.005, Currency: "USD"}
	second := ci.Rate{Price: 0.00002, Unit: time.Second, Currency: "USD"}
	for _, c := range []struct {
		held            time.Duration
		rate            ci.Rate
		seconds, billed int64
		cost            float64
	}{
		{0, minute, 1, 60, 0.005},
		{-time.Hour, minute, 1, 60, 0.005}, // the clock was put back
		{time.Nanosecond, minute, 1, 60, 0.005},
		{time.Minute, minute, 60, 60, 0.005},
		{time.Minute + 1, minute, 61, 120, 0.01},
		{8 * time.Hour, minute, 28800, 28800, 2.4},
		{0, second, 1, 1, 0.00002},
		{1500 * time.Millisecond, second, 2, 2, 0.00004},
		{time.Hour, ci.Rate{}, 3600, 3600, 0},
	} {
		got := ci.Charge{Size: "s"}.Meter(c.held, c.rate)
		want := ci.Charge{Size: "s", Seconds: c.seconds, Billed: c.billed, Cost: c.cost, Currency: c.rate.Currency}
		if got != want {
			t.Errorf("%s at %+v:\n got %+v\nwant %+v", c.held, c.rate, got, want)
		}
	}
}

// A job never pays for less than it held, nor for a whole unit more.
func TestMeterProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		held := time.Duration(rapid.Int64Range(1, int64(36*time.Hour)).Draw(t, "held"))
		unit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute}).Draw(t, "unit")
		c := ci.Charge{}.Meter(held, ci.Rate{Unit: unit})
		billed := time.Duration(c.Billed) * time.Second
		if billed < held || billed >= held+unit || billed%unit != 0 || c.Seconds > c.Billed {
			t.Errorf("held %s by the %s: got %+v", held, unit, c)
		}
	})
}
