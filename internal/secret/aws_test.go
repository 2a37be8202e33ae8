package secret

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// cleanAWS takes away all AWS configuration of whoever runs the tests.
func cleanAWS(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	home := t.TempDir()
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
}

// startMoto runs the AWS emulator on a free port and points the environment to it.
func startMoto(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"moto_server", "aws"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	cleanAWS(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("moto_server", "-H", "127.0.0.1", "-p", fmt.Sprint(addr.Port))
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	ready := make(chan struct{})
	go func() { // it says so when it listens
		defer close(drained)
		buf, seen, open := make([]byte, 4096), "", true
		for {
			n, err := said.Read(buf)
			if seen += string(buf[:n]); open && strings.Contains(seen, "Running on") {
				close(ready)
				open = false
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	select {
	case <-ready:
	case <-drained:
		t.Fatal("moto_server ended before it listened")
	case <-time.After(90 * time.Second):
		t.Fatal("moto_server does not listen")
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://"+addr.String())
	t.Setenv("AWS_ACCESS_KEY_ID", "testing")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "testing")
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_DEFAULT_REGION", "eu-west-1")
}

func awsCLI(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("aws", append(args, "--output", "text")...).CombinedOutput()
	if err != nil {
		t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestAWS(t *testing.T) {
	startMoto(t)
	awsCLI(t, "ssm", "put-parameter", "--name", "/my/param", "--type", "SecureString", "--value", "opened")
	arn := awsCLI(t, "secretsmanager", "create-secret", "--name", "prod/db", "--secret-string", `{"user":"ann","port":5432}`, "--query", "ARN")
	awsCLI(t, "secretsmanager", "create-secret", "--name", "plain", "--secret-string", "first", "--query", "ARN")
	version := awsCLI(t, "secretsmanager", "put-secret-value", "--secret-id", "plain", "--secret-string", "second", "--query", "VersionId")
	source := &AWS{}
	for _, tt := range []struct {
		kind ci.VariableKind
		ref  string
		want string
		err  error
	}{
		{ci.ParameterStore, "/my/param", "opened", nil},
		{ci.ParameterStore, "/none", "", ci.ErrNotFound},
		{ci.SecretsManager, "plain", "second", nil},
		{ci.SecretsManager, "plain::AWSPREVIOUS", "first", nil},
		{ci.SecretsManager, "plain:::" + version, "second", nil},
		{ci.SecretsManager, "prod/db:user", "ann", nil},
		{ci.SecretsManager, arn + ":port", "5432", nil},
		{ci.SecretsManager, "prod/db:none", "", ci.ErrNotFound},
		{ci.SecretsManager, "plain:key", "", ci.ErrInvalid},
		{ci.SecretsManager, "none", "", ci.ErrNotFound},
		{ci.LocalSecret, "plain", "", ci.ErrNotFound},
	} {
		got, err := source.Lookup(t.Context(), tt.kind, tt.ref)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s %q: got %q, %v, want %q, %v", tt.kind, tt.ref, got, err, tt.want, tt.err)
		}
	}
}

func TestAWSNotConfigured(t *testing.T) {
	cleanAWS(t)
	var asked atomic.Int64 // asking the instance, where there is none, takes seconds
	instance := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "no", http.StatusNotFound)
	}))
	defer instance.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.URL)
	for _, region := range []string{"", "eu-west-1"} {
		t.Setenv("AWS_REGION", region)
		_, err := (&AWS{}).Lookup(t.Context(), ci.ParameterStore, "/x")
		if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "credentials") {
			t.Errorf("got %v", err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the instance was asked %d times, and nobody wanted that", n)
	}
	if _, err := (&AWS{Instance: true}).Lookup(t.Context(), ci.ParameterStore, "/x"); !errors.Is(err, ci.ErrUnavailable) || asked.Load() == 0 {
		t.Errorf("with Instance: asked %d times, %v", asked.Load(), err)
	}
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	_, err := (&AWS{}).Lookup(t.Context(), ci.SecretsManager, "x")
	if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("no region: got %v", err)
	}
}

// Answers that the emulator does not give: refusals, and a service that is busy.
func TestAWSAnswers(t *testing.T) {
	cleanAWS(t)
	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	if err := os.WriteFile(file, []byte("[work]\naws_access_key_id = id\naws_secret_access_key = verysecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_PROFILE", "work")
	var answers []string
	var region string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		region = strings.Split(r.Header.Get("Authorization"), "/")[2]
		status, body, _ := strings.Cut(answers[0], " ")
		answers = answers[1:]
		code := 0
		_, _ = fmt.Sscan(status, &code)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	t.Setenv("AWS_ENDPOINT_URL", s.URL)
	for _, tt := range []struct {
		answers []string
		value   string
		err     error
	}{
		{[]string{`400 {"__type":"AccessDeniedException","Message":"not you"}`}, "", ci.ErrDenied},
		{[]string{`400 {"__type":"x#ExpiredTokenException","message":"old"}`}, "", ci.ErrDenied},
		{[]string{`400 {"__type":"ThrottlingException"}`, `503 `, `200 {"SecretString":"v"}`}, "v", nil},
		{[]string{`400 {"__type":"InvalidParameterException"}`}, "", ci.ErrInvalid},
		{[]string{`200 {"SecretBinary":"aGk="}`}, "", ci.ErrInvalid},
		{[]string{`200 <html>`}, "", ci.ErrUnavailable},
		{[]string{`404 <html>`}, "", ci.ErrUnavailable},
		{[]string{`500 `, `500 `, `500 `, `500 `}, "", ci.ErrUnavailable},
	} {
		answers = tt.answers
		got, err := (&AWS{}).Lookup(t.Context(), ci.SecretsManager, "arn:aws:secretsmanager:sa-east-1:1:secret:n")
		if got != tt.value || !errors.Is(err, tt.err) || len(answers) > 0 {
			t.Errorf("%q: got %q, %v, want %q, %v; %d answers left", tt.answers, got, err, tt.value, tt.err, len(answers))
		}
		if err != nil && strings.Contains(err.Error(), "verysecret") {
			t.Errorf("the error tells the key: %v", err)
		}
		if region != "sa-east-1" {
			t.Errorf("signed for region %q, want the ARN's", region)
		}
	}
}
