package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Store keeps users and tokens. What is not there is ci.ErrNotFound.
type Store interface {
	LoginStore
	PutUser(ctx context.Context, u ci.User) (ci.User, error)
	Users(ctx context.Context) ([]ci.User, error)
	PutToken(ctx context.Context, k ci.Token) error
	Tokens(ctx context.Context, user string) ([]ci.Token, error)
	// Holder finds a token by its hash, with its user.
	Holder(ctx context.Context, hash string) (ci.Token, ci.User, error)
	Groups(ctx context.Context, names ...string) ([]ci.Group, error)
	TokenUsed(ctx context.Context, id string, at time.Time) error
}

// Auth knows users by their tokens and their passwords. Its methods are safe from
// several goroutines.
type Auth struct {
	store Store
	now   func() time.Time

	cost    cost          // of new passwords
	hashing chan struct{} // has room for the hashes that are computed at once

	mu   sync.Mutex
	used map[string]time.Time // when the use of a token was last written down
}

// New makes one over a store. A nil now is time.Now.
func New(store Store, now func() time.Time) *Auth {
	if now == nil {
		now = time.Now
	}
	return &Auth{store: store, now: now, cost: newCost(), hashing: make(chan struct{}, hashesAtOnce), used: map[string]time.Time{}}
}

// Admin is the user that Bootstrap makes.
const Admin = "admin"

// Bootstrap makes the user "admin" with a token, when there are no users, or when
// an earlier Bootstrap was killed before that one's token was stored. keep is
// handed the token, this once, to put it where only its owner reads it. It is
// called before the token is good for anything: killed in between, the next
// Bootstrap makes another and keep puts it over the one that was never good.
func (a *Auth) Bootstrap(ctx context.Context, keep func(secret string) error) (made bool, err error) {
	due, err := a.bare(ctx)
	if err != nil || !due {
		return false, err
	}
	if _, err := a.store.PutUser(ctx, ci.User{Name: Admin, Role: ci.RoleAdmin}); err != nil {
		return false, fmt.Errorf("make the first user: %w", err)
	}
	secret := newSecret()
	if err := keep(secret); err != nil {
		return false, fmt.Errorf("keep the first user's token: %w", err)
	}
	_, err = a.put(ctx, secret, ci.Token{User: Admin, Note: "made at the first start"})
	return err == nil, err
}

// bare says that nobody has access yet.
func (a *Auth) bare(ctx context.Context) (bool, error) {
	users, err := a.store.Users(ctx)
	if err != nil {
		return false, fmt.Errorf("make the first user: %w", err)
	}
	if len(users) != 1 || users[0].Name != Admin || users[0].Password != "" {
		return len(users) == 0, nil
	}
	tokens, err := a.store.Tokens(ctx, Admin)
	if err != nil {
		return false, fmt.Errorf("make the first user: %w", err)
	}
	return len(tokens) == 0, nil
}

// Issue makes a token for k.User with the note, scopes and expiry of k. The
// secret is the answer, this once.
func (a *Auth) Issue(ctx context.Context, k ci.Token) (secret string, made ci.Token, err error) {
	if err := a.CheckScopes(k.Scopes); err != nil {
		return "", ci.Token{}, err
	}
	now := a.now()
	if !k.Expires.IsZero() && !k.Expires.After(now) {
		return "", ci.Token{}, fmt.Errorf("token expires %s, which has been: want a time to come: %w", k.Expires.Format(time.RFC3339), ci.ErrInvalid)
	}
	secret = newSecret()
	made, err = a.put(ctx, secret, k)
	if err != nil {
		return "", ci.Token{}, err
	}
	return secret, made, nil
}

func (a *Auth) put(ctx context.Context, secret string, k ci.Token) (ci.Token, error) {
	k = a.fresh(secret, k)
	if err := a.store.PutToken(ctx, k); err != nil {
		return ci.Token{}, fmt.Errorf("issue a token: %w", err)
	}
	return k, nil
}

// fresh is a token that has not been used.
func (a *Auth) fresh(secret string, k ci.Token) ci.Token {
	k.ID, k.Hash, k.Created, k.LastUsed = rand.Text(), hash(secret), a.now(), time.Time{}
	return k
}

// Identify finds the user of a token, with no more rights than the token's
// scopes leave. A token that is unknown, has expired or whose user is gone or
// disabled is ci.ErrDenied, and the answer does not say which.
func (a *Auth) Identify(ctx context.Context, secret string) (ci.User, error) {
	denied := fmt.Errorf("the token is not valid (any more): %w", ci.ErrDenied)
	if !wellFormed(secret) {
		return ci.User{}, denied
	}
	sum := hash(secret)
	k, u, err := a.store.Holder(ctx, sum)
	if errors.Is(err, ci.ErrNotFound) {
		return ci.User{}, denied
	}
	if err != nil {
		return ci.User{}, fmt.Errorf("look up a token: %w", err)
	}
	now := a.now()
	if !sameHash(k.Hash, sum) || !k.Expires.IsZero() && !now.Before(k.Expires) || u.Disabled {
		return ci.User{}, denied
	}
	if len(u.Groups) > 0 {
		groups, err := a.store.Groups(ctx, u.Groups...)
		if err != nil {
			return ci.User{}, fmt.Errorf("look up the groups of a user: %w", err)
		}
		u = u.In(groups)
	}
	u.Password = ""
	a.noteUse(ctx, k, now)
	k.Hash = ""
	u.Token = &k
	return narrow(u, k.Scopes), nil
}

// noteEvery is how exactly the last use of a token is known: writing it down at
// every request would cost each of them a write.
const noteEvery = 10 * time.Minute

func (a *Auth) noteUse(ctx context.Context, k ci.Token, now time.Time) {
	a.mu.Lock()
	last := a.used[k.ID]
	if last.IsZero() {
		last = k.LastUsed
	}
	due := now.Sub(last) >= noteEvery
	if due {
		a.used[k.ID] = now
	}
	a.mu.Unlock()
	if due {
		// It is for people to look at; a request does not fail for it.
		_ = a.store.TokenUsed(ctx, k.ID, now)
	}
}
