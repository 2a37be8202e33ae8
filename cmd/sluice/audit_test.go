package main

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
)

func TestAuditCommand(t *testing.T) {
	t.Parallel()
	s := serverIn(t, filepath.Join(t.TempDir(), "data"))
	s.project("app", `["echo built"]`)
	s.must("user", "set", "@ann", "--role", "viewer")
	var all []client.AuditEntry
	if err := json.Unmarshal([]byte(s.must("audit", "--json", "--since", "1h")), &all); err != nil || len(all) != 2 || all[0].Verb != "user.create" || all[1].Verb != "project.create" || all[0].Token == "" {
		t.Fatalf("got %+v, %v; want that app and then ann were made", all, err)
	}
	if out := s.must("audit", "--verb", "project", "--limit", "0"); !strings.Contains(out, "project.create  app      127.0.0.1") || strings.Count(out, "\n") != 2 {
		t.Errorf("got %s", out)
	}
	rows, err := csv.NewReader(strings.NewReader(s.must("audit", "--csv"))).ReadAll()
	if err != nil || len(rows) != 3 || rows[0][2] != "user" || rows[1][2] != "admin" || rows[2][4] != "app" {
		t.Errorf("got %q, %v", rows, err)
	}
	// What was answered is written down, also when the server is killed at once.
	s.must("project", "create", "last", "--source", "https://example.com/x.git")
	_ = s.cmd.Process.Kill()
	s.stop()
	again := serverIn(t, s.data)
	if out := again.must("audit", "--user", "admin", "--json"); strings.Count(out, `"verb"`) != 3 {
		t.Errorf("after a restart: %s", out)
	}
	again.wantRefused(again.token(), exitUsage, "--since", "audit", "--since", "soon", "--until", "later", "--json", "--csv", "--limit", "-1")
	again.wantRefused(again.token(), exitUsage, "want one of them", "audit", "--since", "soon", "--until", "later", "--json", "--csv")
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"24h": "2026-11-21T12:00:00Z", "30d": "2026-10-23T12:00:00Z", "90s": "2026-11-22T11:58:30Z", "2026-11-01": "2026-11-01T00:00:00Z", "2026-11-01T01:02:03+01:00": "2026-11-01T00:02:03Z",
		"": "", "d": "", "-1h": "", "-3d": "", "1.5d": "", "99999999999d": "", "yesterday": "", "2026-13-01": "",
	} {
		got, err := moment(text, now)
		if (err == nil) != (want != "") || err == nil && got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "ann": "ann", "=1+1": "'=1+1", "@x": "'@x", "-x": "'-x", "+1": "'+1"} {
		if got := cell(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
