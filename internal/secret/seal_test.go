package secret_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
)

// What is sealed for others opens under its name only, also when the master key was
// rotated and the old one was to be forgotten.
func TestSealForOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openDB(t, dir)
	s := openSafe(t, db, secret.KeyFile(filepath.Join(dir, "master.key")))
	ctx := t.Context()
	text, err := s.Seal(ctx, "target /ops", "horse")
	if err != nil || strings.Contains(text, "horse") {
		t.Fatalf("got %q, %v", text, err)
	}
	if _, _, err := db.PutTarget(ctx, ci.Target{Name: "ops"}, &text); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := s.Unseal(ctx, "target /ops", text); err != nil || got != "horse" {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := s.Rotate(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	id, sealed, _ := strings.Cut(text, ".")
	for name, bad := range map[string][2]string{
		"another name": {"target /other", text}, "another key": {"target /ops", "x." + sealed}, "torn": {"target /ops", text[:len(text)-3]}, "nothing": {"target /ops", id}, "rubbish": {"target /ops", "%"},
	} {
		if got, err := s.Unseal(ctx, bad[0], bad[1]); err == nil || !errors.Is(err, ci.ErrInvalid) && !errors.Is(err, ci.ErrUnavailable) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}
