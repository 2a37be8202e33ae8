package secret_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
)

// What is sealed for elsewhere opens under its own name only, in every process
// over the same records, and after the master key was turned and the old one dropped.
func TestSealer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	file := filepath.Join(dir, "master.key")
	safe := openSafe(t, db, secret.KeyFile(file))
	sealers := []*secret.Sealer{secret.NewSealer(safe, db, "#a"), secret.NewSealer(safe, db, "#a")}
	if _, err := sealers[0].Unseal(t.Context(), "hook", "AAAA"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("before there is a key: got %v", err)
	}
	texts := make([]string, len(sealers))
	var work sync.WaitGroup
	for i, s := range sealers { // both make the first key
		work.Go(func() {
			var err error
			if texts[i], err = s.Seal(t.Context(), "hook", "sw0rdfish"); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if _, err := safe.Rotate(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	later := secret.NewSealer(openSafe(t, db, secret.KeyFile(file)), db, "#a")
	for _, text := range texts {
		if strings.Contains(text, "sw0rdfish") {
			t.Errorf("sealed: %s", text)
		}
		if got, err := later.Unseal(t.Context(), "hook", text); err != nil || got != "sw0rdfish" {
			t.Errorf("got %q, %v", got, err)
		}
		for name, other := range map[string]*secret.Sealer{"hook2": later, "hook": secret.NewSealer(safe, db, "#b")} {
			if got, err := other.Unseal(t.Context(), name, text); err == nil {
				t.Errorf("under another name or key: got %q", got)
			}
		}
		if _, err := later.Unseal(t.Context(), "hook", text[:len(text)-8]); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("damaged: got %v", err)
		}
	}
}
