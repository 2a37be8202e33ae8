package auth

import (
	"context"
	"strings"
	"testing"
)

func TestPasswords(t *testing.T) {
	t.Parallel()
	a := New(nil, nil)
	ctx := t.Context()
	stored, err := a.HashPassword(ctx, "pässword with spaces ")
	if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") || a.dated(stored) {
		t.Fatalf("got %q, %v", stored, err)
	}
	if again, err := a.HashPassword(ctx, "pässword with spaces "); err != nil || again == stored {
		t.Errorf("twice the same: %q, %v; want another salt", again, err)
	}
	for password, want := range map[string]bool{"pässword with spaces ": true, "pässword with spaces": false, "": false, "Pässword with spaces ": false} {
		if ok, err := a.verify(ctx, stored, password); ok != want || err != nil {
			t.Errorf("%q: got %v, %v", password, ok, err)
		}
	}
	// A hash from elsewhere, with a cost of its own: made by the reference implementation.
	// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e
	const reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := a.verify(ctx, reference, "password"); !ok || err != nil || !a.dated(reference) {
		t.Errorf("reference: got %v, %v", ok, err)
	}
	for _, bad := range []string{"", "x", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$", strings.Replace(reference, "argon2id", "argon2i", 1), strings.Replace(reference, "65536", "4294967295", 1),
		strings.Replace(reference, "t=2", "t=0", 1), strings.Replace(reference, "t=2", "t=+2", 1), strings.Replace(reference, "v=19", "v=16", 1), reference + "=", reference + "$"} {
		if ok, err := a.verify(ctx, bad, "password"); ok || err != nil || !a.dated(bad) {
			t.Errorf("%q: got %v, %v", bad, ok, err)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for range hashesAtOnce {
		a.hashing <- struct{}{}
	}
	if ok, err := a.verify(gone, stored, "pässword with spaces "); ok || err == nil {
		t.Errorf("got %v, %v; want it given up", ok, err)
	}
}

func TestCheckPassword(t *testing.T) {
	t.Parallel()
	a := New(nil, nil)
	for password, ok := range map[string]bool{
		"correct horse": true, "pässwört": true, strings.Repeat("ab", 512): true,
		"": false, "short": false, "1234567": false, strings.Repeat("ab", 513): false, "aaaaaaaaaaaa": false, "Administrator": false, "bad\xffutf8 text": false,
	} {
		if err := a.CheckPassword("administrator", password); (err == nil) != ok {
			t.Errorf("%q: got %v", password, err)
		}
	}
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=1,t=1,p=1$$")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePHC(text)
		if err == nil && (p.String() != text || p.memory > maxMemory || p.time > maxTime || p.threads < 1 || len(p.hash) == 0) {
			t.Errorf("%q was read as %+v", text, p)
		}
	})
}

// Cheap has new passwords cost next to nothing, for tests that are about something
// else.
func (a *Auth) Cheap() *Auth {
	a.cost = cost{memory: 64, time: 1, threads: 1}
	return a
}
