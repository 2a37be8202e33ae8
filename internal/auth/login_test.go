package auth_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/auth"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// clock is one that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// doors is an Auth over a real store, with a clock and a user ann.
func doors(t *testing.T) (*auth.Auth, *store.DB, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	db, err := store.OpenDB(t.Context(), filepath.Join(t.TempDir(), "db"), store.Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	a := auth.New(db, c.now).Cheap()
	hash, err := a.HashPassword(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	user(t, db, ci.User{Name: "ann", Role: ci.RoleBuilder, Password: hash})
	return a, db, c
}

func TestLogin(t *testing.T) {
	t.Parallel()
	a, db, _ := doors(t)
	ctx := t.Context()
	if u, err := a.Login(ctx, "ann", "correct horse", "::1"); err != nil || u.Name != "ann" || u.Password != "" {
		t.Fatalf("got %+v, %v", u, err)
	}
	user(t, db, ci.User{Name: "none"})
	user(t, db, ci.User{Name: "off", Disabled: true, Password: "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"})
	var words []string
	for name, password := range map[string]string{"ann": "wrong", "none": "", "nobody": "correct horse", "off": "password", "ann\x00": "correct horse", "": ""} {
		_, err := a.Login(ctx, name, password, "::1")
		if !errors.Is(err, ci.ErrDenied) {
			t.Fatalf("%q: got %v, want it denied", name, err)
		}
		words = append(words, err.Error())
	}
	for _, w := range words {
		if w != words[0] {
			t.Errorf("got %q: who fails can tell why", words)
		}
	}
}

// TestLoginUpgrades: a password that was stored at another cost is stored anew.
func TestLoginUpgrades(t *testing.T) {
	t.Parallel()
	_, db, c := doors(t)
	a := auth.New(db, c.now)
	ctx := t.Context()
	const cheap = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	user(t, db, ci.User{Name: "old", Password: cheap})
	if _, err := a.Login(ctx, "old", "wrong", "::1"); !errors.Is(err, ci.ErrDenied) {
		t.Fatal(err)
	}
	if u, err := db.User(ctx, "old"); err != nil || u.Password != cheap {
		t.Errorf("after a wrong one: %q, %v", u.Password, err)
	}
	if _, err := a.Login(ctx, "old", "password", "::1"); err != nil {
		t.Fatal(err)
	}
	if u, err := db.User(ctx, "old"); err != nil || !strings.Contains(u.Password, "m=19456,t=2,p=1") {
		t.Errorf("after the right one: %q, %v", u.Password, err)
	}
	if _, err := a.Login(ctx, "old", "password", "::1"); err != nil {
		t.Error(err)
	}
}

// TestGuessing: who guesses waits, longer each time; others do not wait for him.
func TestGuessing(t *testing.T) {
	t.Parallel()
	a, db, c := doors(t)
	ctx := t.Context()
	guess := func(name, from string) time.Duration {
		t.Helper()
		_, err := a.Login(ctx, name, "wrong", from)
		var many *ci.TooMany
		switch {
		case errors.As(err, &many):
			return many.After
		case !errors.Is(err, ci.ErrDenied):
			t.Fatalf("got %v", err)
		}
		return 0
	}
	// Many at once count as many.
	var mu sync.Mutex
	tried := 0
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := a.Login(ctx, "ann", "wrong", "192.0.2.1")
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, ci.ErrDenied) {
				tried++
			}
		})
	}
	all.Wait()
	if tried != 5 {
		t.Errorf("%d of 20 at once were looked at, want 5", tried)
	}
	waits := []time.Duration{}
	for range 12 {
		d := guess("ann", "192.0.2.1")
		waits = append(waits, d)
		c.add(d)
		if again := guess("ann", "192.0.2.1"); again != 0 {
			t.Fatalf("told to wait %v, then %v more", d, again)
		}
	}
	if waits[0] != time.Second || waits[1] != 2*time.Second || waits[11] != 15*time.Minute {
		t.Errorf("got waits %v", waits)
	}
	if _, err := a.Login(ctx, "ann", "correct horse", "192.0.2.1"); err == nil {
		t.Error("the right password is taken from where one must wait")
	}
	// She herself, from elsewhere, gets in.
	if _, err := a.Login(ctx, "ann", "correct horse", "198.51.100.7"); err != nil {
		t.Error(err)
	}
	// Another process knows of it, and a later success ends it.
	if d := guess("ann", "192.0.2.1"); d == 0 {
		t.Error("the wait is over too soon")
	}
	if _, err := auth.New(db, c.now).Cheap().Login(ctx, "ann", "correct horse", "192.0.2.1"); err == nil {
		t.Error("a restart forgets who guesses")
	}
	c.add(15 * time.Minute)
	if _, err := a.Login(ctx, "ann", "correct horse", "192.0.2.1"); err != nil {
		t.Error(err)
	}
	if d := guess("ann", "192.0.2.1"); d != 0 {
		t.Errorf("the first slip after a success: wait %v", d)
	}
	// One place that tries many users; the network of an IPv6 host is one place.
	c.add(2 * time.Hour)
	refused := 0
	for i := range 60 {
		if guess("user"+strings.Repeat("x", i), "2001:db8::"+string("0123456789abcdef"[i%16])) > 0 {
			refused++
		}
	}
	if refused != 10 {
		t.Errorf("%d of 60 were refused, want 10", refused)
	}
	if d := guess("someone", "2001:db8:0:1::1"); d != 0 {
		t.Errorf("the next network waits %v", d)
	}
	if err := db.TrimLogins(ctx); err != nil {
		t.Error(err)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	a, db, c := doors(t)
	ctx := t.Context()
	keep, _, err := a.Issue(ctx, ci.Token{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for range 53 {
		c.add(time.Second)
		secret, k, err := a.OpenSession(ctx, "ann", "", time.Hour)
		if err != nil || !k.Session || k.Expires.IsZero() {
			t.Fatalf("got %+v, %v", k, err)
		}
		secrets = append(secrets, secret)
	}
	good := func(secret string) bool {
		_, err := a.Identify(context.WithoutCancel(ctx), secret)
		return err == nil
	}
	for i, s := range secrets {
		if good(s) != (i >= 3) {
			t.Errorf("session %d of 53: good %v", i, good(s))
		}
	}
	u, err := a.Identify(ctx, secrets[52])
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetPassword(ctx, ci.NewPassword{User: "ann", Hash: "x", Keep: u.Token.ID}); err != nil {
		t.Fatal(err)
	}
	for i, s := range secrets {
		if good(s) != (i == 52) {
			t.Errorf("after a new password, session %d: good %v", i, good(s))
		}
	}
	if !good(keep) {
		t.Error("a new password ends tokens")
	}
	c.add(time.Hour)
	if good(secrets[52]) {
		t.Error("the session did not end")
	}
}

func TestPasswordLink(t *testing.T) {
	t.Parallel()
	a, db, c := doors(t)
	ctx := t.Context()
	code, err := a.PasswordLink(ctx, "ann", time.Hour)
	if err != nil || len(code) != 43 {
		t.Fatalf("got %q, %v", code, err)
	}
	link, err := a.PasswordLinkOf(ctx, code)
	if err != nil || link.Owner != "ann" || strings.Contains(link.Hash, code) {
		t.Fatalf("got %+v, %v", link, err)
	}
	// Of many at once, one uses it.
	var mu sync.Mutex
	used := 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			err := db.SetPassword(ctx, ci.NewPassword{User: "ann", Hash: "x", Code: link.Hash})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				used++
			} else if !errors.Is(err, ci.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := a.PasswordLinkOf(ctx, code); used != 1 || !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("used %d times, then %v", used, err)
	}
	late, err := a.PasswordLink(ctx, "ann", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if link, err = a.PasswordLinkOf(ctx, late); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	if err := db.SetPassword(ctx, ci.NewPassword{User: "ann", Hash: "y", Code: link.Hash}); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("expired: got %v", err)
	}
	// A link does not outlive another way to a new password, nor its user.
	second, err := a.PasswordLink(ctx, "ann", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetPassword(ctx, ci.NewPassword{User: "ann", Hash: "z"}); err != nil {
		t.Fatal(err)
	}
	third, err := a.PasswordLink(ctx, "ann", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.DeleteUser(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{second, third, "", code + "x", link.Hash, late} {
		if _, err := a.PasswordLinkOf(ctx, bad); !errors.Is(err, ci.ErrNotFound) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
