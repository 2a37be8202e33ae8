package main

import (
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetrics has Prometheus' own reader read what a server says of itself.
func TestMetrics(t *testing.T) {
	t.Setenv("SLUICE_METRICS", "127.0.0.1:0")
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["echo 12345"]`)
	s.must("build", "start", "app", "--follow")
	s.project("broken", `["false"]`)
	s.run("build", "start", "broken", "--follow")
	open := regexp.MustCompile(`msg=metrics url=(\S+)`).FindStringSubmatch(s.said())
	if open == nil {
		t.Fatalf("the address of metrics is not said:\n%s", s.said())
	}
	get := func(url, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	s.must("user", "set", "ann", "--project", "app=viewer")
	ann := strings.TrimSpace(s.must("token", "create", "--user", "ann"))
	s.must("user", "set", "eve", "--role", "viewer")
	eve := strings.TrimSpace(s.must("token", "create", "--user", "eve"))
	for token, want := range map[string]int{"": 401, "slu_rubbish": 401, ann: 403, eve: 200} {
		if status, body := get(s.url+"/metrics", token); status != want {
			t.Errorf("with token %.8q: got %d, want %d: %.100s", token, status, want, body)
		}
	}
	status, text := get(open[1], "")
	if status != 200 {
		t.Fatalf("got %d: %s", status, text)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	got, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	value := func(name string, labels ...string) float64 {
		t.Helper()
		for _, m := range got[name].GetMetric() {
			have := ""
			for _, l := range m.Label {
				have += l.GetValue() + " "
			}
			if strings.TrimSpace(have) != strings.Join(labels, " ") {
				continue
			}
			switch got[name].GetType() {
			case dto.MetricType_COUNTER:
				return m.Counter.GetValue()
			case dto.MetricType_HISTOGRAM:
				return float64(m.Histogram.GetSampleCount())
			default:
				return m.Gauge.GetValue()
			}
		}
		t.Errorf("%s %v is not there:\n%s", name, labels, text)
		return -1
	}
	for name, c := range map[string]struct {
		labels   []string
		from, to float64
	}{
		"sluice_builds_created_total":    {nil, 2, 2},
		"sluice_builds_finished_total":   {[]string{"failed"}, 1, 1},
		"sluice_commands_finished_total": {[]string{"succeeded"}, 1, 1},
		"sluice_first_command_seconds":   {nil, 2, 2},
		"sluice_build_seconds":           {nil, 2, 2},
		"sluice_builds":                  {nil, 0, 2},
		"sluice_jobs_waiting":            {[]string{"memory"}, 0, 0},
		"sluice_jobs_running":            {nil, 0, 2},
		"sluice_capacity":                {[]string{"slots"}, 1000, 1000},
		"sluice_store_commit_seconds":    {nil, 5, 1000},
		"sluice_http_request_seconds":    {[]string{"POST", "201"}, 2, 100},
		"sluice_log_bytes_total":         {nil, 6, 100_000},
		"sluice_notifications":           {[]string{"pending"}, 0, 0},
		"sluice_goroutines":              {nil, 5, 5000},
		"process_open_fds":               {nil, 5, 500},
	} {
		if v := value(name, c.labels...); v < c.from || v > c.to {
			t.Errorf("%s %v: got %g, want %g to %g", name, c.labels, v, c.from, c.to)
		}
	}
}
