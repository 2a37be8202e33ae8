package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-ci/sluice/internal/ci"
)

func listAndDelete(t *testing.T, s Store) {
	b := open(t, s)
	all := []string{"a", "a-b", "a.blob", "a/b", "a/b/c", "a/b-c", "a0", "builds/1/log", "builds/10/log", "npm-1", "npm-12"}
	slices.Sort(all)
	for _, i := range []int{5, 2, 9, 0, 7, 1, 3, 10, 8, 4, 6} {
		put(t, b, all[i], []byte(all[i]))
	}
	if got := list(t, b, ""); !slices.Equal(got, all) {
		t.Errorf("list: %q, want %q", got, all)
	}
	for _, prefix := range []string{"a", "a/", "a/b", "builds/1", "npm-", "npm-1", "z"} {
		want := slices.DeleteFunc(slices.Clone(all), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		if got := list(t, b, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	for _, step := range []struct {
		prefix string
		gone   []string
	}{
		{"npm-", nil},
		{"npm-1", []string{"npm-1"}},
		{"builds/1", []string{"builds/1/log"}},
		{"a/b/", []string{"a/b/c"}},
		{"a", []string{"a", "a/b", "a/b-c"}},
	} {
		if err := b.Delete(t.Context(), step.prefix); err != nil {
			t.Fatalf("delete %q: %v", step.prefix, err)
		}
		all = slices.DeleteFunc(all, func(k string) bool { return slices.Contains(step.gone, k) })
		if got := list(t, open(t, s), ""); !slices.Equal(got, all) {
			t.Errorf("after delete %q: %q, want %q", step.prefix, got, all)
		}
	}
}

func listStops(t *testing.T, s Store) {
	b := open(t, s)
	put(t, b, "a", nil)
	put(t, b, "b/c", nil)
	enough := errors.New("enough")
	n := 0
	err := b.List(t.Context(), "", func(ci.Blob) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("list went on %d times and answered %v, want the callback's own error at once", n, err)
	}
}

// neighbours: a key may be a part of another one's path.
func neighbours(t *testing.T, s Store) {
	b := open(t, s)
	for _, key := range []string{"a/b/c", "a", "a/b"} {
		put(t, b, key, []byte(key))
	}
	for _, key := range []string{"a", "a/b", "a/b/c"} {
		wantBytes(t, b, key, []byte(key))
	}
}

// racingWriters: one key, many writers, readers and deleters; a reader sees one
// whole version or none.
func racingWriters(t *testing.T, s Store) {
	const writers, rounds = 4, 20
	version := func(w int) []byte { return bytes.Repeat([]byte{byte('a' + w)}, 100<<10+w) }
	var wg sync.WaitGroup
	for w := range writers {
		b := open(t, s)
		wg.Go(func() {
			for range rounds {
				if _, err := b.Put(t.Context(), "race/deep/k", bytes.NewReader(version(w))); err != nil {
					t.Errorf("racing put: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range rounds {
				data, _, err := get(b, "race/deep/k", 0)
				if errors.Is(err, ci.ErrNotFound) {
					continue
				}
				if err != nil || len(data) == 0 || !bytes.Equal(data, version(int(data[0]-'a'))) {
					t.Errorf("a racing reader saw %d bytes, %v", len(data), err)
				}
			}
		})
	}
	b := open(t, s)
	wg.Go(func() {
		for range rounds {
			if err := b.Delete(t.Context(), "race"); err != nil {
				t.Errorf("racing delete: %v", err)
			}
		}
	})
	wg.Wait()
	put(t, b, "race/deep/k", []byte("last"))
	wantBytes(t, b, "race/deep/k", []byte("last"))
}

// damage: whatever happens to the stored bytes, a reader gets what was put or an error.
func damage(t *testing.T, s Store) {
	if s.Damage == nil {
		t.Skip("this store has no way to change its bytes behind its back")
	}
	b := open(t, s)
	data := noise(1, 200<<10)
	for _, c := range []struct {
		name string
		edit func([]byte) []byte
	}{
		{"emptied", func(p []byte) []byte { return nil }},
		{"cut to half", func(p []byte) []byte { return p[:len(p)/2] }},
		{"cut by one", func(p []byte) []byte { return p[:len(p)-1] }},
		{"longer by one", func(p []byte) []byte { return append(p, 0) }},
		{"flipped at the start", func(p []byte) []byte { p[0] ^= 1; return p }},
		{"flipped in the middle", func(p []byte) []byte { p[len(p)/2] ^= 0x80; return p }},
		{"flipped at the end", func(p []byte) []byte { p[len(p)-1] ^= 1; return p }},
		{"zeroed in the middle", func(p []byte) []byte { clear(p[len(p)/3 : len(p)/2]); return p }},
	} {
		put(t, b, "k", data)
		if err := s.Damage("k", c.edit); err != nil {
			t.Fatal(err)
		}
		if got, _, err := get(open(t, s), "k", 0); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("%s: read %d bytes and %v, want ErrInvalid", c.name, len(got), err)
		} else if !bytes.HasPrefix(data, got) {
			t.Errorf("%s: wrong bytes were handed out before the error", c.name)
		}
		if got := list(t, b, ""); len(got) != 1 {
			t.Errorf("%s: list gives %q, want the damaged blob too", c.name, got)
		}
		put(t, b, "k", data)
		wantBytes(t, b, "k", data)
	}
}

// model compares the store with a map, over random operations. They are few at a
// time, because each put waits for the disk.
func model(t *testing.T, s Store) {
	b := open(t, s)
	key := rapid.StringMatching(`[ab%.-]{1,2}(/[ab]{1,2}(\.blob)?){0,2}`)
	rapid.Check(t, func(r *rapid.T) {
		if err := clearAll(b); err != nil {
			r.Fatal(err)
		}
		want := map[string]string{}
		for range rapid.IntRange(1, 8).Draw(r, "operations") {
			k, v := key.Draw(r, "key"), rapid.StringN(0, 20, -1).Draw(r, "value")
			var err error
			if rapid.IntRange(0, 3).Draw(r, "delete if 0") > 0 {
				if _, err = b.Put(t.Context(), k, strings.NewReader(v)); err == nil {
					want[k] = v
				}
			} else if err = b.Delete(t.Context(), k); err == nil {
				for have := range want {
					if have == k || strings.HasPrefix(have, k+"/") {
						delete(want, have)
					}
				}
			}
			if err != nil && !errors.Is(err, ci.ErrInvalid) { // "." and ".." are no keys
				r.Fatal(err)
			}
			if err := same(b, want); err != nil {
				r.Fatal(err)
			}
		}
	})
}

func clearAll(b ci.Blobs) error {
	var all []string
	if err := b.List(context.Background(), "", func(b ci.Blob) error { all = append(all, b.Key); return nil }); err != nil {
		return err
	}
	for _, k := range all {
		if err := b.Delete(context.Background(), k); err != nil {
			return err
		}
	}
	return nil
}

func same(b ci.Blobs, want map[string]string) error {
	var last string
	n := 0
	err := b.List(context.Background(), "", func(blob ci.Blob) error {
		if blob.Key <= last {
			return fmt.Errorf("%q is listed after %q", blob.Key, last)
		}
		last = blob.Key
		n++
		r, _, err := b.Open(context.Background(), blob.Key, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if v, ok := want[blob.Key]; err != nil || !ok || v != string(got) {
			return fmt.Errorf("%q holds %q (%v), want %q, there: %v", blob.Key, got, err, v, ok)
		}
		return nil
	})
	if err == nil && n != len(want) {
		err = fmt.Errorf("%d blobs are listed, want %d", n, len(want))
	}
	return err
}
