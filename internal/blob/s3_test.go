package blob_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/blob/blobtest"
	"github.com/sluice-ci/sluice/internal/ci"
)

const bucket = "sluice-test"

// TestS3Conformance runs the suite of all stores on real S3 servers.
func TestS3Conformance(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"moto": startMoto, "versitygw": startVersity} {
		t.Run(name, func(t *testing.T) {
			s3Environment(t)
			endpoint := start(t)
			core := newBucket(t, endpoint)
			blobtest.Run(t, func(t *testing.T) blobtest.Store {
				at := blob.Address{Bucket: bucket, Prefix: rand.Text() + "/", Endpoint: endpoint, Insecure: true}
				temps := t.TempDir()
				return blobtest.Store{
					Open: func() (ci.Blobs, error) { return blob.OpenS3(t.Context(), at, temps) },
					Damage: func(key string, edit func([]byte) []byte) error {
						return rewrite(core, at.Prefix+key+"!", edit)
					},
				}
			})
		})
	}
}

func rewrite(core *minio.Core, name string, edit func([]byte) []byte) error {
	r, _, _, err := core.GetObject(context.Background(), bucket, name, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	b = edit(b)
	_, err = core.Client.PutObject(context.Background(), bucket, name, bytes.NewReader(b), int64(len(b)), minio.PutObjectOptions{})
	return err
}

// s3Environment gives credentials the way they are found in production.
func s3Environment(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "only for tests",
		"AWS_REGION": "us-east-1", "AWS_CONFIG_FILE": filepath.Join(home, "config"),
		"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"), "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "") // for it to be put back
		_ = os.Unsetenv(name)
	}
}

func newBucket(t *testing.T, endpoint string) *minio.Core {
	t.Helper()
	core, err := minio.NewCore(endpoint, &minio.Options{Creds: credentials.NewStaticV4("tester", "only for tests", ""), Region: "us-east-1"})
	if err == nil {
		err = core.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return core
}

func startMoto(t *testing.T) string {
	t.Helper()
	return startStore(t, "moto_server", func(port string) []string { return []string{"-H", "127.0.0.1", "-p", port} })
}

// startVersity runs a gateway that keeps objects as files, with what follows for
// the names of objects.
func startVersity(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	return startStore(t, "versitygw", func(port string) []string {
		return []string{"--access", "tester", "--secret", "only for tests", "--port", "127.0.0.1:" + port, "--health", "/health", "posix", dir}
	})
}

// startStore runs a server on a free port until the test ends, and waits until it listens.
func startStore(t *testing.T, program string, args func(port string) []string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args(port)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
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
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			return address
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", program, err, said.Bytes())
		default:
		}
	}
}
