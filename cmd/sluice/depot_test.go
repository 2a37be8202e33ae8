package main

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/depot"
)

// offline runs a command that needs no server.
func offline(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "sluice")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text) + stderr.String(), cmd.ProcessState.ExitCode()
}

func mustOffline(t *testing.T, args ...string) string {
	t.Helper()
	out, code := offline(t, args...)
	if code != 0 {
		t.Fatalf("sluice %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// TestBackupOfABusyServer backs a server up while it builds, and looks at what
// comes of the backup: fsck finds nothing wrong, and each build that had ended has
// its log and its artifact.
func TestBackupOfABusyServer(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	s.project("app", "['echo output of $CODEBUILD_BUILD_NUMBER', 'mkdir dist', 'echo $CODEBUILD_BUILD_NUMBER >dist/number']", "artifacts: {files: ['dist/*']}")
	s.must("build", "start", "app", "--follow")
	const builds = 30
	started := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < builds && err == nil; i++ {
			_, said, code := s.run("build", "start", "app")
			if code != 0 {
				err = fmt.Errorf("build start: %s", said)
			}
		}
		started <- err
	}()
	var packed []string
	for busy := true; busy; {
		select {
		case err := <-started:
			if err != nil {
				t.Fatal(err)
			}
			busy = false
		default:
		}
		file := filepath.Join(t.TempDir(), "backup")
		mustOffline(t, "backup", "--data", data, file)
		packed = append(packed, file)
		if out, code := offline(t, "fsck", "--data", data); code != 0 {
			t.Errorf("fsck while it builds: exit %d\n%s", code, out)
		}
	}
	s.ended("app", builds+1)
	for _, file := range packed {
		mustOffline(t, "restore", "--check", file)
	}
	file := packed[len(packed)/2]
	again := filepath.Join(t.TempDir(), "again")
	said := mustOffline(t, "restore", file, "--data", again)
	if !strings.Contains(said, "restored "+again) || !strings.Contains(said, "admin-token back") {
		t.Errorf("restore says %q", said)
	}
	if out, code := offline(t, "restore", file, "--data", again); code != 1 || !strings.Contains(out, "is not empty") {
		t.Errorf("a second time: exit %d, %s", code, out)
	}
	if out, code := offline(t, "fsck", "--data", again); code != 0 {
		t.Errorf("fsck of what was restored: exit %d\n%s", code, out)
	}
	copyKeys(t, data, again)
	s2 := serverIn(t, again)
	readAll(t, s2)
	s2.stop()
	out := mustOffline(t, "fsck", "--data", again, "--json")
	var report depot.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Problems) != 0 || report.Builds == 0 || report.Artifacts == 0 || report.Logs == 0 {
		t.Errorf("fsck --json: %v\n%s", err, out)
	}
}

// readAll reads the log and the artifact of each build that succeeded.
func readAll(t *testing.T, s *served) {
	t.Helper()
	all := builds(t, s.must("build", "list", "--project", "app", "--json"))
	if len(all) == 0 {
		t.Error("there are no builds")
	}
	for _, b := range all {
		b := s.ended("app", b.Number)
		if b.Status != "succeeded" {
			continue // it ran when the backup was made, and its sandbox was not in it
		}
		name := fmt.Sprintf("app/%d", b.Number)
		if got, want := s.must("logs", name), fmt.Sprintf("output of %d\n", b.Number); got != want {
			t.Errorf("the log of %s: %q, want %q", name, got, want)
		}
		dir := t.TempDir()
		s.must("artifact", "get", name, "--output", dir)
		if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) != 1 {
			t.Errorf("the artifacts of %s: %v", name, found)
		}
	}
}

func TestFsckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	s.project("app", "['mkdir dist', 'echo one >dist/a']", "artifacts: {files: ['dist/*']}")
	s.must("build", "start", "app", "--follow")
	blobs, err := filepath.Glob(filepath.Join(data, "blobs", "blobs", "builds", "*", "*", "artifacts", "*.blob"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("%v, %v; want one blob", blobs, err)
	}
	if err := os.Truncate(blobs[0], 100); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(data, "builds", "nobodys"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, code := offline(t, "fsck", "--data", data)
	if code != 1 || !strings.Contains(out, "artifact app/1: artifact app of job build: ") || !strings.Contains(out, "orphan") || !strings.Contains(out, "2 wrong") {
		t.Errorf("fsck: exit %d\n%s", code, out)
	}
	if out, code := offline(t, "fsck", "--data", data, "--repair"); code != 1 || !strings.Contains(out, "; removed") || !strings.Contains(out, "1 wrong") {
		t.Errorf("fsck --repair: exit %d\n%s", code, out)
	}
	// Who downloads it is told that it is damaged, and gets no wrong byte.
	if _, said, code := s.run("artifact", "get", "app/1", "--output", t.TempDir()); code == 0 {
		t.Errorf("the damaged artifact was handed out: %s", said)
	}
	if out, code := offline(t, "fsck", "--data", filepath.Join(data, "none")); code != 2 || !strings.Contains(out, "--data") {
		t.Errorf("fsck of nothing: exit %d\n%s", code, out)
	}
}

// emptySchema is a PostgreSQL database with nothing in it.
func emptySchema(t *testing.T) string {
	t.Helper()
	server := os.Getenv("SLUICE_TEST_POSTGRES")
	if server == "" {
		t.Skip("SLUICE_TEST_POSTGRES is not set: test/engines/postgres.sh start prints it")
	}
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	schema := "test_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = db.Exec("DROP SCHEMA " + schema + " CASCADE")
		_ = db.Close()
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestMigrate takes a server to PostgreSQL and back; it goes on with the next number.
func TestMigrate(t *testing.T) {
	t.Parallel()
	postgres := emptySchema(t)
	data := filepath.Join(t.TempDir(), "data")
	lite := "sqlite:" + filepath.Join(data, "sluice.db")
	s := serverIn(t, data)
	s.project("app", "['echo output of $CODEBUILD_BUILD_NUMBER', 'mkdir dist', 'echo x >dist/number']", "artifacts: {files: ['dist/*']}")
	s.must("build", "start", "app", "--follow")
	s.stop()
	out := mustOffline(t, "migrate", "--from", lite, "--to", postgres)
	if !strings.Contains(out, "builds") || !strings.Contains(out, "was copied and compared") {
		t.Errorf("migrate says\n%s", out)
	}
	s = serverIn(t, data, "--database", postgres)
	s.must("build", "start", "app", "--follow")
	readAll(t, s)
	if out, code := offline(t, "fsck", "--data", data, "--database", postgres); code != 0 {
		t.Errorf("fsck: exit %d\n%s", code, out)
	}
	file := filepath.Join(t.TempDir(), "backup")
	mustOffline(t, "backup", "--data", data, "--database", postgres, "--keys", file)
	s.stop()
	for from, to := range map[string]string{lite: postgres, postgres: lite} {
		if out, code := offline(t, "migrate", "--from", from, "--to", to); code != 1 || !strings.Contains(out, "in use already") {
			t.Errorf("into a database that is used: exit %d\n%s", code, out)
		}
	}
	back := "sqlite:" + filepath.Join(t.TempDir(), "back.db")
	mustOffline(t, "migrate", "--from", postgres, "--to", back)
	s = serverIn(t, data, "--database", back)
	s.must("build", "start", "app", "--follow")
	if b := s.ended("app", 3); b.Status != "succeeded" {
		t.Errorf("the third build %s", b.Status)
	}
	readAll(t, s)

	// A backup of PostgreSQL gives a server with SQLite.
	again := filepath.Join(t.TempDir(), "again")
	mustOffline(t, "restore", file, "--data", again)
	readAll(t, serverIn(t, again))
}
