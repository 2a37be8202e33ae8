package metric

import (
	"bytes"
	"context"
	"math"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// read has Prometheus' own reader read a set.
func read(t testing.TB, s *Set) map[string]*dto.MetricFamily {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(&b)
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	return families
}

func TestPrometheusReadsIt(t *testing.T) {
	t.Parallel()
	s := &Set{}
	none := s.Counter("none_total", "Never\nhappened \\.")
	builds := s.Counter("builds_total", "Builds.", "status", "project")
	took := s.Histogram("took_seconds", "Times.", []float64{0.1, 1, 10}, "what")
	s.Gauge("temperature", "Now.", func(_ context.Context, emit Emit) { emit(-1.5, "a"); emit(math.Inf(1), "b") }, "where")
	s.CounterOf("read_total", "Elsewhere.", func(_ context.Context, emit Emit) { emit(7) })
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			none.Add(0)
			builds.Add(1, "failed", "a\"b\\c\nd\xff")
			builds.Add(2, "fine", "")
			for _, v := range []float64{0.05, 0.1, 5, 100} {
				took.Observe(v, "x")
			}
		})
	}
	wg.Wait()
	got := read(t, s)
	if len(got) != 5 || got["none_total"].Metric[0].Counter.GetValue() != 0 || got["none_total"].GetHelp() != "Never\nhappened \\." {
		t.Errorf("got %v", got)
	}
	values := map[string]float64{}
	for _, m := range got["builds_total"].Metric {
		values[m.Label[0].GetValue()+"/"+m.Label[1].GetValue()] = m.Counter.GetValue()
	}
	if values["failed/a\"b\\c\nd\uFFFD"] != 100 || values["fine/"] != 200 {
		t.Errorf("got %v", values)
	}
	h := got["took_seconds"].Metric[0].Histogram
	want := []uint64{200, 200, 300, 400}
	for i, b := range h.Bucket {
		if b.GetCumulativeCount() != want[i] {
			t.Errorf("bucket %g: got %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want[i])
		}
	}
	if h.GetSampleCount() != 400 || math.Abs(h.GetSampleSum()-10515) > 1e-6 {
		t.Errorf("got %d values, %g together", h.GetSampleCount(), h.GetSampleSum())
	}
	if g := got["temperature"].Metric; g[0].Gauge.GetValue() != -1.5 || !math.IsInf(g[1].Gauge.GetValue(), 1) {
		t.Errorf("got %v", g)
	}
	if got["read_total"].Metric[0].Counter.GetValue() != 7 {
		t.Errorf("got %v", got["read_total"])
	}
}

// FuzzLabels: any value comes back as it was, but for what is not UTF-8.
func FuzzLabels(f *testing.F) {
	for _, s := range []string{"", "a", "\"", "\\n", "\n", "\xff", "\u2028", "}{", "\x00", "\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s := &Set{}
		s.Counter("x_total", value, "l").Add(1, value)
		got := read(t, s)["x_total"].Metric[0].Label[0].GetValue()
		if want := string(bytes.ToValidUTF8([]byte(value), []byte("\uFFFD"))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
