package blob_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
)

// TestS3Faults stands between the client and a real server: it answers that the
// server is busy, and cuts connections in the middle of a body.
func TestS3Faults(t *testing.T) {
	s3Environment(t)
	store := startMoto(t)
	newBucket(t, store)
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Host, p.Out.URL.Scheme = store, "http"
		p.Out.Host = p.In.Host // the name that is signed stays
	}}
	var busy, cut atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if busy.Add(-1) >= 0 {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Method == http.MethodGet && cut.Add(-1) >= 0 {
			w = &cutWriter{ResponseWriter: w, left: 100 << 10}
		}
		defer func() { _ = recover(); panicOn(w) }()
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	at := blob.Address{Bucket: bucket, Prefix: "p/", Endpoint: strings.TrimPrefix(front.URL, "http://"), Insecure: true}
	s, err := blob.OpenS3(t.Context(), at, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 70<<20) // two parts
	_, _ = rand.Read(data)

	busy.Store(2)
	if _, err := s.Put(t.Context(), "k", bytes.NewReader(data)); err != nil {
		t.Fatalf("put while the store is busy: %v", err)
	}
	busy.Store(1)
	cut.Store(4)
	r, _, err := s.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatalf("open while the store is busy: %v", err)
	}
	got, err := io.ReadAll(r)
	_ = r.Close()
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read over connections that break: %d bytes, %v; want %d", len(got), err, len(data))
	}

	// What is replaced while a connection is broken is not mixed with what was read.
	cut.Store(1)
	r, _, err = s.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := s.Put(t.Context(), "k", strings.NewReader("other")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, ci.ErrUnavailable) || !bytes.HasPrefix(data, got) {
		t.Errorf("a reader over a replaced blob got %d bytes and %v, want ErrUnavailable", len(got), err)
	}
}

// TestS3Sweep: what a killed writer has sent so far is seen by nobody, and goes.
func TestS3Sweep(t *testing.T) {
	s3Environment(t)
	store := startVersity(t) // the other one says of every upload that it began in 2010
	core := newBucket(t, store)
	s, err := blob.OpenS3(t.Context(), blob.Address{Bucket: bucket, Prefix: "p/", Endpoint: store, Insecure: true}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id, err := core.NewMultipartUpload(t.Context(), bucket, "p/half!", minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := core.PutObjectPart(t.Context(), bucket, "p/half!", id, 1, bytes.NewReader(make([]byte, 5<<20)), 5<<20, minio.PutObjectPartOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		begun time.Duration
		left  int
	}{{blob.Abandoned, 1}, {0, 0}} {
		if err := s.Sweep(t.Context(), step.begun); err != nil {
			t.Fatal(err)
		}
		left := 0
		for range core.ListIncompleteUploads(t.Context(), bucket, "p/", true) {
			left++
		}
		if left != step.left {
			t.Errorf("after the sweep of uploads older than %v there are %d, want %d", step.begun, left, step.left)
		}
	}
}

// cutWriter ends a response in its middle.
type cutWriter struct {
	http.ResponseWriter
	left  int
	ended bool
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	if w.left -= n; w.left == 0 {
		w.ended = true
		return n, errors.New("the connection breaks here")
	}
	return n, err
}

func panicOn(w http.ResponseWriter) {
	if c, ok := w.(*cutWriter); ok && c.ended {
		panic(http.ErrAbortHandler)
	}
}

// TestS3SaysWhatIsWrong: what an operator gets to read.
func TestS3SaysWhatIsWrong(t *testing.T) {
	s3Environment(t)
	store := startMoto(t)
	newBucket(t, store)
	temps := t.TempDir()
	_, err := blob.OpenS3(t.Context(), blob.Address{Bucket: "not-there", Endpoint: store, Insecure: true}, temps)
	if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), `no bucket "not-there"; create it`) {
		t.Errorf("a bucket that is not there: %v", err)
	}
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return // the bucket is there
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
	}))
	defer denied.Close()
	s, err := blob.OpenS3(t.Context(), blob.Address{Bucket: bucket, Endpoint: strings.TrimPrefix(denied.URL, "http://"), Insecure: true}, temps)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), "k", strings.NewReader("x"))
	if !errors.Is(err, ci.ErrUnavailable) || errors.Is(err, ci.ErrDenied) || !strings.Contains(err.Error(), "docs/operate.md") {
		t.Errorf("rights that do not suffice: %v", err)
	}
	if left, _ := os.ReadDir(temps); len(left) > 0 {
		t.Errorf("files are left of a put that failed: %v", left)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err = blob.OpenS3(t.Context(), blob.Address{Bucket: bucket, Endpoint: store, Insecure: true}, temps)
	if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("no credentials: %v", err)
	}
}
