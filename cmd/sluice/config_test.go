package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// configured reads the configuration as `sluice serve ARGS` would.
func configured(t *testing.T, env map[string]string, args ...string) ([]told, error) {
	t.Helper()
	lookup := func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	configFlags(flags, lookup)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return readConfig(flags, lookup)
}

func TestConfigSources(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sluice.yml")
	if err := os.WriteFile(file, []byte("listen: 0.0.0.0:80\njobs: 3\nlog: json\ndatabase: postgres://me:hush@db/sluice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SLUICE_JOBS": "4", "SLUICE_LOG": "text", "HOME": "/home/me"}
	all, err := configured(t, env, "--config", file, "--log", "json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := serverConfigOf(all)
	if err != nil {
		t.Fatal(err)
	}
	if c.listen != "0.0.0.0:80" || c.jobs != 4 || !c.jsonLog || c.url != "http://127.0.0.1:80" || c.anyRuntime {
		t.Errorf("got %+v", c)
	}
	var out bytes.Buffer
	if err := showConfig(&out, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"listen: 0.0.0.0:80  # " + file, `jobs: "4"  # SLUICE_JOBS`, "log: json  # --log",
		"database: postgres://me:***@db/sluice  # " + file, `any-runtime: "false"  # default`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no line %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("the password is shown:\n%s", &out)
	}
	// What is shown is a configuration file.
	again := filepath.Join(t.TempDir(), "again.yml")
	if err := os.WriteFile(again, bytes.ReplaceAll(out.Bytes(), []byte("***"), []byte("hush")), 0o600); err != nil {
		t.Fatal(err)
	}
	same, err := configured(t, nil, "--config", again)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := serverConfigOf(same); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("read back: %+v, %v; want %+v", got, err, c)
	}
}

func TestAllThatIsWrongWithTheConfigIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	all, err := configured(t, map[string]string{"SLUICE_CPUS": "many"},
		"--listen", "here", "--jobs", "0", "--memory", "lots", "--url", "ci.example.com", "--tls-cert", "x", "--log", "xml", "--any-runtime", "perhaps")
	if err != nil {
		t.Fatal(err)
	}
	_, err = serverConfigOf(all)
	if codeOf(err) != exitUsage {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"--listen", "--jobs", "--memory", "--url", "tls-key", "--log", "--any-runtime", "cpus (from SLUICE_CPUS)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not among\n%v", want, err)
		}
	}

	file := filepath.Join(t.TempDir(), "sluice.yml")
	if err := os.WriteFile(file, []byte("listen: 127.0.0.1:1\nlisen: x\njobs: [1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = configured(t, nil, "--config", file)
	for _, want := range []string{file + ":2:1: there is no setting", file + ":3:7: jobs: want one value"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not among\n%v", want, err)
		}
	}
}

func TestWhatFollowsFromOtherSettingsIsShown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listen, want string }{
		{"127.0.0.1:80", "http://127.0.0.1:80"}, {":80", "http://127.0.0.1:80"}, {"[::1]:80", "http://[::1]:80"}, {"unix:/run/s", "unix:/run/s"},
	} {
		all, err := configured(t, nil, "--data", "/d", "--listen", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := showConfig(&out, all); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\nurl: " + c.want + "  # default\n", "\ndatabase: /d/sluice.db  # default\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, &out)
			}
		}
		if got, err := serverConfigOf(all); err != nil || got.url != c.want {
			t.Errorf("%s: got %q, %v", c.listen, got.url, err)
		}
	}
}

func TestPasswordsInTheDatabasesAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://me:hush@db/x":            "postgres://me:***@db/x",
		"postgres://me@db/x":                 "postgres://me@db/x",
		"postgres://db/x?user=me&password=h": "postgres://db/x?password=***&user=me",
		"/var/lib/sluice/sluice.db":          "/var/lib/sluice/sluice.db",
		"postgres://me:%zz@db/x":             "***",
	} {
		if got := (told{setting: setting{secret: true}, value: address}).shown(); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
}
