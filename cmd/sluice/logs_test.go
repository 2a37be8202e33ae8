package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
)

func TestLogsCommand(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data, "--pack-logs", "0s")
	s.project("app", `["printf 'one\\n\\033[31mERROR\\033[0m two\\n\\033]0;title\\007three\\n'", "seq 1 20000"]`)
	s.must("build", "start", "app", "--follow")
	const first = "one\n\x1b[31mERROR\x1b[0m two\n\x1b]0;title\athree\n"
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--step", "build/BUILD/0"}, first}, // a pipe gets every byte
		{[]string{"-n", "2"}, "19999\n20000\n"},
		{[]string{"-n", "1", "-f"}, "20000\n"},
		{[]string{"--grep", "^ERROR"}, "\x1b[31mERROR\x1b[0m two\n"},
		{[]string{"--grep", "error", "-i", "-C", "1"}, first},
		{[]string{"--grep", "0.0", "-F"}, ""},
		{[]string{"--grep", "^[0-9]+$", "--count"}, "20000\n"},
		{[]string{"--step", "build/BUILD/1", "--lines", "500-502"}, "500\n501\n502\n"},
		{[]string{"--step", "build/BUILD/1", "--lines", "19999-"}, "19999\n20000\n"},
		{[]string{"--grep", "^1234[56]$", "-C", "1"}, "12344\n12345\n12346\n12347\n"},
		{[]string{"--grep", "^(700|900)$", "-C", "1", "--job", "build"}, "699\n700\n701\n--\n899\n900\n901\n"},
		{[]string{"--since", "1h", "--until", "30m"}, ""},
	} {
		if out := s.must(append([]string{"logs", "app/1"}, c.args...)...); out != c.want {
			t.Errorf("sluice logs app/1 %s: got %.200q, want %q", strings.Join(c.args, " "), out, c.want)
		}
	}
	stamped := regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  one\n20`)
	if out := s.must("logs", "app/1", "--timestamps"); !stamped.MatchString(out) {
		t.Errorf("got %.100q", out)
	}
	var l client.LogLine
	if out := s.must("logs", "app/1", "--json", "-n", "1"); json.Unmarshal([]byte(out), &l) != nil || l.Line != 20000 || l.Text != "20000" {
		t.Errorf("got %q", out)
	}
	// It was packed meanwhile, or is now; it reads as before.
	for deadline := time.Now().Add(time.Minute); ; {
		packed, err := filepath.Glob(filepath.Join(data, "logs", "*", "build", "BUILD", "1.zst"))
		if err == nil && len(packed) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log was not packed within a minute: %v, %v", packed, err)
		}
		<-time.After(50 * time.Millisecond) // nothing tells when it is done
	}
	if out := s.must("logs", "app/1", "--step", "build/BUILD/1", "--lines", "15000"); out != "15000\n" {
		t.Errorf("packed: got %q", out)
	}
	if out := s.must("logs", "app/1"); !strings.HasPrefix(out, first) || !strings.HasSuffix(out, "\n20000\n") || strings.Count(out, "\n") != 20003 {
		t.Errorf("packed: got %d lines", strings.Count(out, "\n"))
	}
	for want, args := range map[string][]string{
		"--lines \"5-2\"":                  {"--step", "build/BUILD/1", "--lines", "5-2"},
		"want how long ago":                {"--since", "yesterday"},
		"need --grep":                      {"-i"},
		"not a regular expression":         {"--grep", "("},
		"name the step":                    {"--lines", "5"},
		"is for the whole log":             {"--all", "-n", "5"},
		"leave out --until":                {"-f", "--until", "1m"},
		"the steps of the build list thei": {"--step", "build/BUILD/7", "-n", "1"},
	} {
		if out, errs, code := s.run(append([]string{"logs", "app/1"}, args...)...); code != exitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d, %q, %q; want %q", args, code, out, errs, want)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "logs", ".sealed")); err != nil {
		t.Error(err)
	}
}

func TestTimeFlag(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 5, 12, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"10m": "2026-03-05T12:20:00Z", "-10m": "2026-03-05T12:20:00Z", "3d": "2026-03-02T12:30:00Z", "08:15": "2026-03-05T08:15:00Z", "08:15:07": "2026-03-05T08:15:07Z",
		"2026-03-01": "2026-03-01T00:00:00Z", "2026-03-01T10:00:00+02:00": "2026-03-01T08:00:00Z", "2026-03-01 10:00:00": "2026-03-01T10:00:00Z",
	} {
		if got, err := timeFlag("since", text, now); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: got %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "10", "25:00", "2026-13-01", "d", "-d"} {
		if got, err := timeFlag("since", text, now); err == nil {
			t.Errorf("%s: got %v, want an error", text, got)
		}
	}
}

// terminalText is what a terminal gets of pieces.
func terminalText(pieces ...string) string {
	var out bytes.Buffer
	h := &harmless{w: &out}
	for _, p := range pieces {
		_, _ = h.Write([]byte(p)) // a buffer takes all
	}
	_ = h.Close()
	return out.String()
}

func TestHarmless(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain ünïcode\ttab\r\n":                                    "plain ünïcode\ttab\r\n",
		"\x1b[1;31mred\x1b[0m done":                                 "\x1b[1;31mred\x1b[0m done",
		"\x1b[38:5:208morange":                                      "\x1b[38:5:208morange\x1b[0m",
		"50%\x1b[2K\r51%\x1b[K":                                     "50%\x1b[2K\r51%\x1b[K",
		"up\x1b[1Aover\x1b[2Jclear\x1b[10;20H":                      "upoverclear",
		"\x1b]0;title\x07t\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "tlink",
		"\x1bP1$r\x1b\\x\x1b_apc\x1b\\y\x1b^pm\x1b\\z":              "xyz",
		"\x1b[>4;2mkeys\x1b[?1049hscreen\x1b[6nwhere\x1b[c":         "keysscreenwhere",
		"bell\a back\b nul\x00 del\x7f":                             "bell back nul del",
		"c1 \u009b31m \x9b31m \u0085":                               "c1 31m 31m ",
		"\x1bcreset\x1b(0":                                          "creset(0",
		"\x1b]0;no end\nnext line":                                  "\nnext line",
		"\x1b[" + strings.Repeat("1;", 40) + "m":                    "[" + strings.Repeat("1;", 40) + "m",
	} {
		if got := terminalText(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if got := terminalText(strings.Split(text, "")...); got != want && strings.ToValidUTF8(text, "") == text {
			t.Errorf("%q, rune by rune: got %q, want %q", text, got, want)
		}
	}
}

func FuzzHarmless(f *testing.F) {
	f.Add("a\x1b[31mb\x1b]0;x\x07c", 3)
	f.Add("\x1b[>4m\xc2\x9b", 5)
	f.Fuzz(func(t *testing.T, text string, at int) {
		whole := terminalText(text)
		if at > 0 && at < len(text) {
			if parts := terminalText(text[:at], text[at:]); parts != whole {
				t.Fatalf("%q: in two pieces %q, whole %q", text, parts, whole)
			}
		}
		rest := whole
		for rest != "" {
			i := strings.IndexByte(rest, 0x1b)
			if i < 0 {
				break
			}
			rest = rest[i:]
			end := strings.IndexFunc(rest[1:], func(r rune) bool { return r != '[' && (r < '0' || r > ';') })
			if end < 0 || rest[1] != '[' || rest[1+end] != 'm' && rest[1+end] != 'K' {
				t.Fatalf("%q lets %q through", text, rest)
			}
			rest = rest[1+end:]
		}
		for _, r := range whole {
			if r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != 0x1b || r >= 0x7f && r < 0xa0 {
				t.Fatalf("%q lets %q through", text, r)
			}
		}
	})
}
