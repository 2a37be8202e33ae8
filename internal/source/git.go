package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// passed are the variables that git keeps of our environment: how to find
// programs, agents and proxies. Its own (GIT_*) and HOME are not among them, so
// that a build does not depend on who starts it.
var passed = []string{
	"PATH", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY",
}

// setting is one line of git configuration that goes with one command. It
// travels in the environment, where other users do not see it.
type setting struct{ key, value string }

// git prepares a command that neither asks a person nor reads any configuration
// but that of the repository it works in.
func (f *Fetcher) git(ctx context.Context, settings []setting, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, f.opt.Git, args...)
	cmd.Env = []string{
		"LC_ALL=C", "HOME=/nonexistent",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_SSH_COMMAND=ssh -oBatchMode=yes", "GIT_ALLOW_PROTOCOL=file:git:http:https:ssh",
	}
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	settings = append([]setting{{"core.attributesFile", "/dev/null"}, {"core.fsmonitor", "false"}, {"core.hooksPath", "/dev/null"}}, settings...)
	cmd.Env = append(cmd.Env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(settings)))
	for i, s := range settings {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s.key), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s.value))
	}
	// Git starts helpers (ssh, remote-https, index-pack); all of them end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run gives what a git command prints.
func run(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout = &out
	var complaint tailBuffer
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		return out.Bytes(), gitError(ctx, cmd, err, complaint.String())
	}
	return out.Bytes(), nil
}

// answers says whether a git command prints anything, without waiting for all of it.
func answers(ctx context.Context, cmd *exec.Cmd) (bool, error) {
	var complaint tailBuffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, gitError(ctx, cmd, err, "")
	}
	var b [1]byte
	if n, _ := out.Read(b[:]); n > 0 {
		_ = cmd.Cancel()
		_ = cmd.Wait() // it was killed, as wanted
		return true, nil
	}
	if err := cmd.Wait(); err != nil {
		return false, gitError(ctx, cmd, err, complaint.String())
	}
	return false, nil
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ b []byte }

func (t *tailBuffer) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.b = append(t.b, p...)
	if len(t.b) > most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return strings.TrimSpace(string(t.b)) }

// complaints tells what git's words mean. The first that fits counts.
var complaints = []struct {
	words string
	is    error
	todo  string
}{
	{"authentication failed", ci.ErrDenied, "check the credentials of the repository"},
	{"could not read username", ci.ErrDenied, "the repository asks for credentials: give them"},
	{"could not read password", ci.ErrDenied, "the repository asks for a password: give it"},
	{"permission denied", ci.ErrDenied, "check the key and its rights to the repository"},
	{"host key verification failed", ci.ErrDenied, "add the host's key to known_hosts"},
	{"error: 403", ci.ErrDenied, "check the rights of the credentials"},
	{"not our ref", ci.ErrNotFound, "check the commit"},
	{"couldn't find remote ref", ci.ErrNotFound, "check the branch, tag or commit"},
	{"repository not found", ci.ErrNotFound, "check the location and the rights to it"},
	{"does not appear to be a git repository", ci.ErrNotFound, "check the location"},
	{"not found", ci.ErrNotFound, "check the location"},
	{"no such file or directory", ci.ErrNotFound, "check the location"},
	{"no space left on device", ci.ErrUnavailable, "free some disk space"},
	{"could not resolve host", ci.ErrUnavailable, "check the host name and the network"},
	{"unable to access", ci.ErrUnavailable, "check the location and the network"},
	{"connection", ci.ErrUnavailable, "check the location and the network"},
	{"timed out", ci.ErrUnavailable, "check the location and the network"},
	{"not allowed", ci.ErrInvalid, "use https, ssh or a path"},
}

// gitError says what went wrong with a command, in git's words, without credentials.
func gitError(ctx context.Context, cmd *exec.Cmd, err error, complaint string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("git %s: %w", cmd.Args[1], context.Cause(ctx)) // it was killed for that
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("run git: install it, or put it on PATH: %w: %w", err, ci.ErrUnavailable)
	}
	if complaint == "" {
		complaint = err.Error()
	}
	text := strings.ReplaceAll(redact(complaint), "\n", "; ")
	verb := cmd.Args[1]
	lower := strings.ToLower(complaint)
	for _, c := range complaints {
		if strings.Contains(lower, c.words) {
			return fmt.Errorf("git %s: %s (%s): %w", verb, text, c.todo, c.is)
		}
	}
	return fmt.Errorf("git %s: %s: %w", verb, text, err)
}

// redact takes user and password out of the URLs in a text.
func redact(text string) string {
	var out strings.Builder
	for text != "" {
		end := strings.IndexAny(text, " \t\r\n")
		if end < 0 {
			end = len(text)
		}
		word := text[:end]
		bare := strings.Trim(word, "'\"`<>(),;:.")
		before, after, _ := strings.Cut(word, bare)
		out.WriteString(before + Redact(bare) + after)
		if end < len(text) {
			end++
		}
		out.WriteString(text[len(word):end])
		text = text[end:]
	}
	return out.String()
}

// Redact gives a location without its user and password, fit to show and to
// store. What cannot be read as a URL loses all up to the last "@": its password
// may hold what ends one elsewhere.
func Redact(location string) string {
	scheme := strings.Index(location, "://")
	if scheme < 0 {
		return location
	}
	rest := location[scheme+3:]
	end := len(rest)
	if _, err := url.Parse(location); err == nil {
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			end = i
		}
	}
	return location[:scheme+3] + rest[strings.LastIndexByte(rest[:end], '@')+1:end] + Redact(rest[end:])
}

// remote is a checked repository location, with what it takes to talk to it.
type remote struct {
	url      string // without user and password, but for ssh's user
	local    bool
	settings []setting
	env      []string
}

// open checks a location and looks up its credentials.
func (f *Fetcher) open(ctx context.Context, location string) (remote, error) {
	r, user, password, err := parseLocation(location)
	if err != nil {
		return remote{}, err
	}
	if user == "" && password == "" && f.opt.Credentials != nil && !r.local {
		if user, password, err = f.opt.Credentials(ctx, r.url); err != nil {
			return remote{}, fmt.Errorf("credentials for %s: %w", r.url, err)
		}
	}
	if user+password == "" || !strings.HasPrefix(r.url, "http") {
		return r, nil
	}
	if strings.ContainsAny(user+password, "\n\r\x00") {
		return remote{}, fmt.Errorf("credentials for %s: a line break in them: %w", r.url, ci.ErrInvalid)
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return remote{}, fmt.Errorf("repository location: %w", ci.ErrInvalid)
	}
	// The helper answers for this host only, wherever the server may redirect to.
	r.settings = []setting{{
		"credential." + u.Scheme + "://" + u.Host + ".helper",
		`!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$SLUICE_GIT_USER" "$SLUICE_GIT_PASSWORD"; }; f`,
	}}
	r.env = []string{"SLUICE_GIT_USER=" + user, "SLUICE_GIT_PASSWORD=" + password}
	return r, nil
}

// parseLocation refuses what git would take for an option, a program to run, or
// a transport that is one.
func parseLocation(location string) (r remote, user, password string, err error) {
	bad := func(why string) (remote, string, string, error) {
		return remote{}, "", "", fmt.Errorf("repository location %q: %s: %w", Redact(location), why, ci.ErrInvalid)
	}
	switch {
	case location == "" || location[0] == '-' || strings.ContainsAny(location, "\x00\n\r"):
		return bad("want a path or a URL")
	case strings.Contains(location, "://"):
		u, err := url.Parse(location)
		if err != nil {
			return bad("it is not a URL")
		}
		return parseURL(u, bad)
	}
	if host, path, ok := strings.Cut(location, ":"); ok && !strings.Contains(host, "/") {
		_, name, at := strings.Cut(host, "@")
		if !at {
			name = host
		}
		if host == "" || name == "" || name[0] == '-' || path == "" || path[0] == '-' || path[0] == ':' {
			return bad("use https://, ssh:// or a path")
		}
		return remote{url: location}, "", "", nil // host:path, over ssh
	}
	abs, err := filepath.Abs(location)
	if err != nil {
		return remote{}, "", "", err
	}
	return remote{url: abs, local: true}, "", "", nil
}

func parseURL(u *url.URL, bad func(string) (remote, string, string, error)) (remote, string, string, error) {
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return bad("want file:///path")
		}
		return remote{url: filepath.Clean(u.Path), local: true}, "", "", nil
	case "http", "https", "git":
		if u.Host == "" || strings.HasPrefix(u.Host, "-") {
			return bad("it names no host")
		}
		user := u.User.Username()
		password, _ := u.User.Password()
		u.User = nil
		return remote{url: u.String()}, user, password, nil
	case "ssh":
		if u.Host == "" || strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.User.Username(), "-") {
			return bad("it names no host")
		}
		if user := u.User.Username(); user != "" {
			u.User = url.User(user)
		}
		return remote{url: u.String()}, "", "", nil
	}
	return bad("use https, ssh or a path")
}
