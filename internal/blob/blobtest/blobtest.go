// Package blobtest is the conformance suite of ci.Blobs.
//
// It owns what every store of blobs must do, whatever it stands on. It does not
// own what one store alone can show, such as what it leaves on a disk.
//
// Invariant: it uses a store only through ci.Blobs.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Store is one empty place to keep blobs.
type Store struct {
	// Open opens the place; every call as another process would, so that the
	// suite sees through caches.
	Open func() (ci.Blobs, error)
	// Damage changes the stored bytes of a blob behind the store's back; nil
	// where that cannot be done.
	Damage func(key string, edit func(stored []byte) []byte) error
}

// Run tries every rule of ci.Blobs on stores that make gives.
func Run(t *testing.T, make func(t *testing.T) Store) {
	cases := []struct {
		name string
		run  func(*testing.T, Store)
	}{
		{"RoundTrip", roundTrip},
		{"Offsets", offsets},
		{"Replace", replace},
		{"FailedPutChangesNothing", failedPut},
		{"CanceledPutChangesNothing", canceledPut},
		{"Missing", missing},
		{"Keys", keys},
		{"ListAndDelete", listAndDelete},
		{"ListStopsOnError", listStops},
		{"Neighbours", neighbours},
		{"RacingWriters", racingWriters},
		{"Damage", damage},
		{"Model", model},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, make(t))
		})
	}
}

func open(t *testing.T, s Store) ci.Blobs {
	t.Helper()
	b, err := s.Open()
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	return b
}

// noise is n bytes that look random and are the same for the same seed.
func noise(seed uint64, n int) []byte {
	p := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(p)
	return p
}

func put(t *testing.T, b ci.Blobs, key string, data []byte) ci.Blob {
	t.Helper()
	got, err := b.Put(t.Context(), key, bytes.NewReader(data))
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	want := sha256.Sum256(data)
	if got.Key != key || got.Size != int64(len(data)) || got.SHA256 != hex.EncodeToString(want[:]) || got.Time.IsZero() {
		t.Fatalf("put %q of %d bytes answers %+v", key, len(data), got)
	}
	return got
}

func get(b ci.Blobs, key string, from int64) ([]byte, ci.Blob, error) {
	r, blob, err := b.Open(context.Background(), key, from)
	if err != nil {
		return nil, blob, err
	}
	data, err := io.ReadAll(r)
	return data, blob, errors.Join(err, r.Close())
}

func wantBytes(t *testing.T, b ci.Blobs, key string, want []byte) {
	t.Helper()
	got, blob, err := get(b, key, 0)
	if err != nil {
		t.Fatalf("read %q: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %q: got %d bytes (%.40q), want %d (%.40q)", key, len(got), got, len(want), want)
	}
	if blob.Size != int64(len(want)) {
		t.Fatalf("open %q says size %d, want %d", key, blob.Size, len(want))
	}
}

func list(t *testing.T, b ci.Blobs, prefix string) []string {
	t.Helper()
	got := []string{}
	err := b.List(t.Context(), prefix, func(b ci.Blob) error {
		got = append(got, b.Key)
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return got
}

// Sizes around what a store may use as a block.
func sizes() []int {
	return []int{0, 1, 127, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 3*64<<10 + 5, 1 << 20}
}

func roundTrip(t *testing.T, s Store) {
	b := open(t, s)
	for i, n := range sizes() {
		key := fmt.Sprintf("a/%d", n)
		data := noise(uint64(i), n)
		was := put(t, b, key, data)
		wantBytes(t, open(t, s), key, data)
		_, now, err := get(b, key, 0)
		if err != nil || now.SHA256 != was.SHA256 || now.Key != key || !now.Time.Equal(was.Time) {
			t.Errorf("open %q answers %+v, %v; put answered %+v", key, now, err, was)
		}
		// A source that gives a byte at a time, and its end with the last.
		if n <= 4096 {
			if _, err := b.Put(t.Context(), key, iotest.OneByteReader(iotest.DataErrReader(bytes.NewReader(data)))); err != nil {
				t.Fatal(err)
			}
			wantBytes(t, b, key, data)
		}
	}
}

func offsets(t *testing.T, s Store) {
	b := open(t, s)
	data := noise(1, 3*64<<10+5)
	put(t, b, "x", data)
	for _, from := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, len(data) - 1, len(data)} {
		got, _, err := get(b, "x", int64(from))
		if err != nil || !bytes.Equal(got, data[from:]) {
			t.Errorf("read from %d: %d bytes, %v; want %d", from, len(got), err, len(data)-from)
		}
	}
	for _, from := range []int64{-1, int64(len(data)) + 1} {
		if _, _, err := get(b, "x", from); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("read from %d: %v, want ErrInvalid", from, err)
		}
	}
}

func replace(t *testing.T, s Store) {
	b := open(t, s)
	old, fresh := noise(1, 300<<10), noise(2, 100<<10)
	put(t, b, "k", old)
	r, _, err := b.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 10)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	put(t, open(t, s), "k", fresh)
	wantBytes(t, b, "k", fresh)
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(append(head, rest...), old) {
		t.Errorf("a reader that was open saw %d bytes and %v, want the %d old bytes", len(rest)+10, err, len(old))
	}
}

func failedPut(t *testing.T, s Store) {
	b := open(t, s)
	put(t, b, "k", []byte("old"))
	broken := errors.New("broken pipe")
	for _, n := range []int{0, 1, 64 << 10, 200 << 10} {
		for _, cause := range []error{broken, io.ErrUnexpectedEOF} {
			r := io.MultiReader(bytes.NewReader(noise(1, n)), iotest.ErrReader(cause))
			if _, err := b.Put(t.Context(), "k", r); !errors.Is(err, cause) {
				t.Errorf("put that breaks after %d bytes: %v, want %v", n, err, cause)
			}
			if _, err := b.Put(t.Context(), "new", r); !errors.Is(err, cause) {
				t.Errorf("put of a new key that breaks: %v, want %v", err, cause)
			}
		}
	}
	wantBytes(t, b, "k", []byte("old"))
	if got := list(t, b, ""); len(got) != 1 {
		t.Errorf("after failed puts the store lists %q, want only \"k\"", got)
	}
}

func canceledPut(t *testing.T, s Store) {
	b := open(t, s)
	put(t, b, "k", []byte("old"))
	ctx, cancel := context.WithCancelCause(t.Context())
	source := io.MultiReader(bytes.NewReader(noise(1, 100<<10)), readFunc(func([]byte) (int, error) {
		cancel(ci.ErrCanceled)
		return 0, nil
	}))
	if _, err := b.Put(ctx, "k", source); !errors.Is(err, ci.ErrCanceled) && !errors.Is(err, context.Canceled) {
		t.Errorf("canceled put: %v, want the cause", err)
	}
	wantBytes(t, b, "k", []byte("old"))
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func missing(t *testing.T, s Store) {
	b := open(t, s)
	put(t, b, "a/b", nil)
	for _, key := range []string{"x", "a", "a/b/c", "a/x"} {
		if _, _, err := b.Open(t.Context(), key, 0); !errors.Is(err, ci.ErrNotFound) {
			t.Errorf("open %q: %v, want ErrNotFound", key, err)
		}
		if err := b.Delete(t.Context(), "gone/"+key); err != nil {
			t.Errorf("delete of a key that is not there: %v", err)
		}
	}
	if got := list(t, b, "nothing/"); len(got) != 0 {
		t.Errorf("list of nothing: %q", got)
	}
}

func keys(t *testing.T, s Store) {
	b := open(t, s)
	long := string(bytes.Repeat([]byte("k"), 1025))
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "a\x00b", "a\nb", `a\b`, long} {
		if _, err := b.Put(t.Context(), key, bytes.NewReader(nil)); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("put %.20q: %v, want ErrInvalid", key, err)
		}
		if _, _, err := b.Open(t.Context(), key, 0); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("open %.20q: %v, want ErrInvalid", key, err)
		}
	}
	if err := b.Delete(t.Context(), ""); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("delete of everything: %v, want ErrInvalid", err)
	}
	for _, key := range []string{"01h/job#2/BUILD~2/0", "a b", "%", "%25", "a.blob", "a.blob/b", "a.blob%62", "...", "ü/日本", "-rf", "*"} {
		put(t, b, key, []byte(key))
		wantBytes(t, b, key, []byte(key))
	}
}
