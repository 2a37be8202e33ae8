package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// LoginStore keeps what logins take. What is not there is ci.ErrNotFound.
type LoginStore interface {
	User(ctx context.Context, name string) (ci.User, error)
	UpgradePassword(ctx context.Context, name, old, hash string) error
	PutSession(ctx context.Context, k ci.Token, most int) error
	// Attempt counts an attempt as failed, unless one of the limits refuses it.
	Attempt(ctx context.Context, limits ...Limit) (refused string, wait time.Duration, err error)
	Succeeded(ctx context.Context, limits ...Limit) error
	PutCode(ctx context.Context, c Code) error
	Code(ctx context.Context, kind, hash string) (Code, error)
	TakeCode(ctx context.Context, kind, hash string) (Code, error)
}

// Limit is how often something may fail.
type Limit = ci.Limit

// Code is something that is good once, until it expires.
type Code = ci.Code

// maxSessions is how many sessions a user has at most; the oldest ends.
const maxSessions = 50

// limits are those of failed logins. A person who errs has a few attempts. Who
// tries many users from one place is slowed down by the place; who tries one user
// from many places by the user, and not for long, because it also keeps out the
// user.
func limits(user, address string) []Limit {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		// One customer of a provider has all addresses of such a network.
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			address = network.String()
		}
	}
	return []Limit{
		{What: "login " + user + " " + address, Free: 5, Most: 15 * time.Minute},
		{What: "login of " + user, Free: 100, Most: 10 * time.Second},
		{What: "login from " + address, Free: 50, Most: 5 * time.Minute},
	}
}

// Login finds the user of a name and a password. Who tries too often is told
// *ci.TooMany; all else that is wrong is ci.ErrDenied, in the same words and the
// same time whether there is such a user or not.
func (a *Auth) Login(ctx context.Context, name, password, address string) (ci.User, error) {
	tried := limits(name, address)
	refused, wait, err := a.store.Attempt(ctx, tried...)
	if err != nil {
		return ci.User{}, err
	}
	if refused != "" {
		return ci.User{}, &ci.TooMany{What: "failed logins", After: wait}
	}
	u, err := a.store.User(ctx, name)
	if err != nil && !errors.Is(err, ci.ErrNotFound) {
		return ci.User{}, fmt.Errorf("log in: %w", err)
	}
	ok, err := a.verify(ctx, u.Password, password)
	if err != nil {
		return ci.User{}, fmt.Errorf("log in: %w", err)
	}
	if !ok || u.Disabled || u.Name != name {
		return ci.User{}, fmt.Errorf("the user or the password is wrong: %w", ci.ErrDenied)
	}
	if err := a.store.Succeeded(ctx, tried...); err != nil {
		return ci.User{}, err
	}
	if a.dated(u.Password) {
		if stored, err := a.HashPassword(ctx, password); err == nil {
			_ = a.store.UpgradePassword(ctx, name, u.Password, stored) // the next login tries again
		}
	}
	u.Password = ""
	return u, nil
}

// OpenSession makes a session of the user, which ends after a while.
func (a *Auth) OpenSession(ctx context.Context, user, note string, life time.Duration) (secret string, made ci.Token, err error) {
	secret = newSecret()
	made = a.fresh(secret, ci.Token{User: user, Note: note, Session: true, Expires: a.now().Add(life)})
	if err := a.store.PutSession(ctx, made, maxSessions); err != nil {
		return "", ci.Token{}, fmt.Errorf("log in: %w", err)
	}
	return secret, made, nil
}

// passwordLink is the kind of codes with which the password of their owner can be set.
const passwordLink = "password"

// PasswordLink makes a code with which the password of the user can be set, once.
func (a *Auth) PasswordLink(ctx context.Context, user string, life time.Duration) (code string, err error) {
	return a.NewCode(ctx, Code{Kind: passwordLink, Owner: user}, life)
}

// PasswordLinkOf finds what a code is for: its owner's password. A code that is
// unknown, used or expired is ci.ErrNotFound.
func (a *Auth) PasswordLinkOf(ctx context.Context, code string) (Code, error) {
	return a.store.Code(ctx, passwordLink, hash(code))
}

// NewCode makes a code that is good once and for a while. What it consists of is
// the answer and is not kept.
func (a *Auth) NewCode(ctx context.Context, c Code, life time.Duration) (code string, err error) {
	code = newSecret()[len(prefix):]
	c.Hash, c.Expires = hash(code), a.now().Add(life)
	return code, a.store.PutCode(ctx, c)
}

// TakeCode uses up a code of a kind. One that is unknown, used or expired is
// ci.ErrNotFound.
func (a *Auth) TakeCode(ctx context.Context, kind, code string) (Code, error) {
	return a.store.TakeCode(ctx, kind, hash(code))
}
