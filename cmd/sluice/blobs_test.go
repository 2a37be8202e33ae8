package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
)

// startBucket runs an S3 server and gives the address of a bucket in it. Its
// credentials are in the environment.
func startBucket(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("moto_server"); err != nil {
		t.Skip("moto_server is not installed")
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = l.Close()
	cmd := exec.Command("moto_server", "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("moto_server ended: %v", err)
		default:
		}
	}
	at := blob.Address{Bucket: "sluice-test", Prefix: "ci/", Endpoint: address, Insecure: true}
	ask, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+address+"/"+at.Bucket, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(ask)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("make a bucket: %v, %v", answer, err)
	}
	_ = answer.Body.Close()
	return at.String()
}

// count counts blobs.
func count(t *testing.T, b ci.Blobs, prefix string) (n int) {
	t.Helper()
	if err := b.List(t.Context(), prefix, func(ci.Blob) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestServeKeepsBlobsInS3: artifacts go to the bucket, come back from there, and
// go with their build; credentials are shown nowhere.
func TestServeKeepsBlobsInS3(t *testing.T) {
	address := startBucket(t)
	data := t.TempDir()
	s := serverIn(t, data, "--blobs", address)
	s.project("app", "['mkdir dist', 'echo one >dist/a', 'echo two >dist/b']", "artifacts: {files: ['dist/*']}")
	s.must("build", "start", "app", "--follow")
	out := t.TempDir()
	s.must("artifact", "get", "app/1", "--output", out)
	found, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v; want one artifact", found, err)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "builds", "*", "*", "artifacts", "*")); len(left) != 0 {
		t.Errorf("files are left in the data folder: %v", left)
	}
	at, err := blob.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := blob.OpenS3(t.Context(), at, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	artifacts, logs := 0, 0
	err = bucket.List(t.Context(), "builds/", func(b ci.Blob) error {
		artifacts += strings.Count(b.Key, "/artifacts/")
		logs += strings.Count(b.Key, "/logs/")
		return nil
	})
	if err != nil || artifacts != 1 || logs < 3 {
		t.Errorf("the bucket has %d artifacts and %d logs, %v; want 1 and those of all commands", artifacts, logs, err)
	}
	shown, _, _ := s.run("config", "--data", data, "--blobs", address)
	if !strings.Contains(shown, "blobs: "+address) && !strings.Contains(shown, "blobs: '"+address) || strings.Contains(shown+s.said(), "hush") {
		t.Errorf("config shows:\n%s\nand the server said:\n%s", shown, s.said())
	}
	s.must("build", "delete", "app/1")
	if n := count(t, bucket, "builds/"); n != 0 {
		t.Errorf("after the build was deleted the bucket has %d blobs of it", n)
	}
	s.stop()

	// What is wrong with the address is said before anything is opened.
	cmd := exec.Command(s.exe, "serve", "--data", data, "--blobs", "s3://KEY:hush@UP/x?colour=red")
	text, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(text), "credentials do not belong") || !strings.Contains(string(text), "there is no option") || strings.Contains(string(text), "hush") {
		t.Errorf("a wrong address: %v\n%s", err, text)
	}
	if _, err := os.Stat(filepath.Join(data, "sluice.db")); err != nil {
		t.Error(err)
	}
}

// copyKeys gives a data folder the keys of another.
func copyKeys(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"admin-token", "master.key"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestServersShareBlobs builds on one server and reads all of it on another, with
// a data folder of its own.
func TestServersShareBlobs(t *testing.T) {
	t.Parallel()
	shared, db := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "shared.db")
	s := serverIn(t, t.TempDir(), "--blobs", shared, "--database", db)
	s.project("app", "['echo output of $CODEBUILD_BUILD_NUMBER', 'mkdir dist', 'echo x >dist/number']", "artifacts: {files: ['dist/*']}")
	s.must("build", "start", "app", "--follow")
	s.stop()
	data := t.TempDir()
	copyKeys(t, s.data, data)
	other := serverIn(t, data, "--blobs", shared, "--database", db)
	readAll(t, other)
	if got := other.must("logs", "app/1", "--grep", "output"); !strings.Contains(got, "output of 1") {
		t.Errorf("a search on the other server: %q", got)
	}
	out, code := offline(t, "fsck", "--data", data, "--blobs", shared, "--database", db)
	if code != 0 || !strings.Contains(out, "1 builds, 1 artifacts") || strings.Contains(out, " 0 logs") {
		t.Errorf("fsck: exit %d\n%s", code, out)
	}
}

// TestDeleteBlobs takes the artifacts of a build and leaves its logs, and the other way.
func TestDeleteBlobs(t *testing.T) {
	t.Parallel()
	b, err := blob.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"builds/1/a/artifacts/x.zip", "builds/1/a#2/artifacts/site/artifacts/y", "builds/1/a/logs/BUILD/0", "builds/10/a/artifacts/x.zip"} {
		if _, err := b.Put(t.Context(), key, strings.NewReader(key)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		kind string
		left int
	}{{"artifacts", 2}, {"logs", 1}, {"logs", 1}} {
		if err := deleteBlobs(t.Context(), b, "1", step.kind); err != nil {
			t.Fatal(err)
		}
		if n := count(t, b, ""); n != step.left {
			t.Errorf("without %s %d blobs are left, want %d", step.kind, n, step.left)
		}
	}
}
