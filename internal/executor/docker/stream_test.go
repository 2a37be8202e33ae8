package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

func frame(stream byte, data []byte) []byte {
	head := make([]byte, 8, 8+len(data))
	head[0] = stream
	binary.BigEndian.PutUint32(head[4:], uint32(len(data)))
	return append(head, data...)
}

func execOf(stream []byte) *execConn {
	a, _ := net.Pipe()
	return &execConn{Conn: a, r: bufio.NewReader(bytes.NewReader(stream))}
}

// TestExecStream: whatever the engine cuts the streams into, standard output
// comes out whole and standard error is remembered.
func TestExecStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := []byte("R\x00")
		stream := frame(1, want)
		var said []byte
		for range rapid.IntRange(0, 8).Draw(t, "frames") {
			data := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data")
			if rapid.Bool().Draw(t, "stderr") {
				stream, said = append(stream, frame(2, data)...), append(said, data...)
			} else {
				stream, want = append(stream, frame(1, data)...), append(want, data...)
			}
		}
		c := execOf(stream)
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, want) || (err != nil && len(said) == 0) {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if !bytes.Equal(c.stderr, said) {
			t.Fatalf("standard error %q, want %q", c.stderr, said)
		}
	})
}

func TestExecRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"OCI runtime exec failed: no room", "cannot exec in a stopped state: unknown"} {
		if _, err := io.ReadAll(execOf(frame(1, []byte(text)))); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := io.ReadAll(execOf(frame(2, []byte("sluice agent: no such socket\n")))); err == nil || err.Error() != "sluice agent: no such socket" {
		t.Errorf("standard error alone: %v", err)
	}
}

func FuzzExecStream(f *testing.F) {
	f.Add(frame(1, []byte("R\x00\x00")))
	f.Add(frame(2, []byte("error")))
	f.Add([]byte{1, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, stream []byte) {
		got, _ := io.ReadAll(execOf(stream))
		if len(got) > len(stream) {
			t.Fatalf("%d bytes out of %d", len(got), len(stream))
		}
	})
}

func FuzzReadBuild(f *testing.F) {
	f.Add([]byte(`{"stream":"Step 1/2 : FROM x\n"}` + "\n" + `{"aux":{"ID":"sha256:00"}}`))
	f.Add([]byte(`{"error":"exit 3","errorDetail":{"code":3}}`))
	f.Add([]byte(`{"status":"Pulling","id":"x"}{"aux":"text"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var log bytes.Buffer
		if _, err := readBuild(bytes.NewReader(body), &log); err != nil && !errors.Is(err, ci.ErrInvalid) && !errors.Is(err, ci.ErrUnavailable) {
			t.Fatalf("error %v of no kind", err)
		}
	})
}
