package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/client"
)

// TestUsage meters builds on a server with prices that is killed while one of them
// runs, then limits them.
func TestUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	prices := filepath.Join(dir, "prices.yml")
	if err := os.WriteFile(prices, []byte("currency: EUR\nprices: [{size: BUILD_GENERAL1_SMALL, minute: 0.25}, {minute: 1}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(dir, "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	s := serverIn(t, data, "--prices", prices)
	s.project("app", "['true']")
	s.project("held", fmt.Sprintf("['cat %s']", gate))
	s.must("build", "start", "app", "--follow", "--size", "BUILD_GENERAL1_SMALL")
	s.must("build", "start", "app", "--follow")
	s.must("build", "start", "held")
	for running := false; !running; { // its command
		b, err := s.client().Build(t.Context(), "held", 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range b.Jobs {
			for _, step := range j.Steps {
				running = running || step.Kind == "command"
			}
		}
	}
	s.kill()
	s = serverIn(t, data, "--prices", prices)
	f, err := os.OpenFile(gate, os.O_WRONLY, 0) // lets the command end
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if b := s.ended("held", 1); b.Status != client.Succeeded {
		t.Fatalf("got %s: %s", b.Status, b.Reason)
	}
	want := fmt.Sprintf(`project,size,builds,jobs,seconds,minutes,cost,currency
app,,1,1,%d,1,1,EUR
app,BUILD_GENERAL1_SMALL,1,1,%d,1,0.25,EUR
held,,1,1,%d,1,1,EUR
`, s.seconds("app", 2), s.seconds("app", 1), s.seconds("held", 1))
	if got := s.must("usage", "--by", "project,size", "--since", "2d", "--csv"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out := s.must("usage", "--by", "project", "--since", "2d")
	if want = "PROJECT  BUILDS  JOBS  MINUTES  COST\napp      2       2     2        1.25 EUR\nheld     1       1     1        1.00 EUR\ntotal    3       3     3        2.25 EUR\n"; out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	s.must("build", "delete", "app/1")
	var rows []client.UsageRow
	if err := json.Unmarshal([]byte(s.must("usage", "--by", "user", "--since", "2d", "--json")), &rows); err != nil || len(rows) != 1 || rows[0].Cost != 2.25 || rows[0].User != "admin" {
		t.Errorf("got %+v, %v", rows, err)
	}
	if _, errs, code := s.run("usage", "--since", "yesterday"); code != exitUsage || !strings.Contains(errs, "want a day") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if out := s.must("budget", "set", "app", "--cost", "1.25"); !strings.Contains(out, "used up") && !monthBegan() {
		t.Errorf("got %s", out)
	}
	if _, errs, code := s.run("build", "start", "app"); (code == 0 || !strings.Contains(errs, `budget of project "app"`)) && !monthBegan() {
		t.Errorf("exit %d: %s", code, errs)
	}
	s.must("budget", "override", "app")
	s.must("build", "start", "app", "--follow")
	for _, want := range []string{"asked for by admin", "begun: source ", "job build begun", "build ended: succeeded"} {
		if out := s.must("why", "held/1"); !strings.Contains(out, want) {
			t.Errorf("why says nothing of %q:\n%s", want, out)
		}
	}
	if out := s.must("build", "show", "held/1"); !strings.Contains(out, "1.00 EUR") || !strings.Contains(out, "PEAK CPUS") || !strings.Contains(out, "build/BUILD/0") {
		t.Errorf("got\n%s", out)
	}
}

// seconds is how long a build held its sandbox: that depends on the machine.
func (s *served) seconds(project string, number int64) int64 {
	s.t.Helper()
	b, err := s.client().Build(s.t.Context(), project, number)
	if err != nil || b.Jobs[0].Charge == nil {
		s.t.Fatalf("got %+v, %v", b.Jobs, err)
	}
	return b.Jobs[0].Charge.Seconds
}

// monthBegan says whether what was metered just now may be last month's already.
func monthBegan() bool {
	now := time.Now().UTC()
	return now.Day() == 1 && now.Hour() == 0 && now.Minute() < 5
}

func TestDay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 23, 30, 0, 0, time.FixedZone("west", -3600)) // the 23rd in UTC
	for text, want := range map[string]string{"": "2026-11-01", "2026-10-05": "2026-10-05", "2026-02": "2026-02-01", "0d": "2026-11-23", "30d": "2026-10-24"} {
		if got, err := day("--since", text, now); err != nil || got.Format(time.DateOnly) != want {
			t.Errorf("%q: got %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"d", "-1d", "2026-13-01", "30", "99999999d", "now"} {
		if got, err := day("--until", text, now); err == nil {
			t.Errorf("%q: got %s", text, got)
		}
	}
	if got, err := day("--until", "", now); err != nil || !got.IsZero() {
		t.Errorf("got %s, %v; want no limit", got, err)
	}
}

func TestMoney(t *testing.T) {
	t.Parallel()
	for amount, want := range map[float64]string{0: "0.00 USD", 0.005: "0.005 USD", 12: "12.00 USD", 0.00002: "0.00002 USD", 1.5: "1.50 USD", 0.0000001: "0.00 USD"} {
		if got := money(amount, "USD"); got != want {
			t.Errorf("%v: got %q, want %q", amount, got, want)
		}
	}
}
