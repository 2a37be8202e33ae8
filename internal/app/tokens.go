package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Me is who asks, with no more rights than the token leaves.
type Me struct {
	ci.User
	Scopes  []string  `json:"scopes,omitempty"`      // of the token; none = all that the user may
	Expires time.Time `json:"tokenExpires,omitzero"` // zero = never
}

// Me tells the user who he is here.
func (a *App) Me(ctx context.Context) (Me, error) {
	u, err := asking(ctx)
	if err != nil {
		return Me{}, err
	}
	me := Me{User: u}
	if u.Token != nil {
		me.Scopes, me.Expires = u.Token.Scopes, u.Token.Expires
	}
	return me, nil
}

// Everybody is the user whose tokens are those of all users.
const Everybody = "*"

// Tokens lists the tokens of a user, one's own for "": those of others, and of
// Everybody, for administrators. Asked with a token that has scopes it shows those
// that reach no further.
func (a *App) Tokens(ctx context.Context, user string) ([]ci.Token, error) {
	u, err := asking(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{u.Name}
	if user != "" && user != u.Name {
		if names, err = a.others(ctx, user); err != nil {
			return nil, err
		}
	}
	var all []ci.Token
	for _, name := range names {
		some, err := a.cfg.Store.Tokens(ctx, name)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return slices.DeleteFunc(all, func(k ci.Token) bool { return !a.reaches(u, k.Scopes) }), nil
}

// others names the users that are meant, for an administrator.
func (a *App) others(ctx context.Context, user string) ([]string, error) {
	if _, err := manage(ctx, viewToken); err != nil {
		return nil, err
	}
	if user != Everybody {
		_, err := a.findUser(ctx, user)
		return []string{user}, err
	}
	users, err := a.cfg.Store.Users(ctx)
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.Name
	}
	return names, err
}

// reaches says whether the token that asks reaches as far as one with the scopes.
func (a *App) reaches(u ci.User, scopes []string) bool {
	return u.Token == nil || len(u.Token.Scopes) == 0 || a.cfg.Tokens.Within(scopes, u.Token.Scopes)
}

// NewToken asks for a token.
type NewToken struct {
	User     string // "" = who asks
	Note     string // what it is for
	Scopes   []string
	Expires  time.Time // zero = never, unless there is a Lifetime
	Lifetime string    // instead: how long it is good, as in "720h"
}

// IssuedToken is a new token with its secret, which is shown this once.
type IssuedToken struct {
	ci.Token
	Secret string `json:"secret"`
}

// IssueToken makes a token: for oneself, and for others when an administrator
// asks. It reaches no further than the token that asks, and lives no longer.
func (a *App) IssueToken(ctx context.Context, n NewToken) (IssuedToken, error) {
	by, err := asking(ctx)
	if err != nil {
		return IssuedToken{}, err
	}
	if by.Build != "" {
		return IssuedToken{}, fmt.Errorf("a build has its own token, which ends with it, and makes no others: %w", ci.ErrDenied)
	}
	if n.User == "" {
		n.User = by.Name
	}
	if n.User != by.Name {
		if _, err := manage(ctx, createToken); err != nil {
			return IssuedToken{}, err
		}
	}
	expires, err := a.checkToken(n)
	if err != nil {
		return IssuedToken{}, err
	}
	if err := a.noMore(by, n.Scopes, expires); err != nil {
		return IssuedToken{}, err
	}
	u, err := a.findUser(ctx, n.User)
	if err != nil {
		return IssuedToken{}, err
	}
	if u.Disabled {
		return IssuedToken{}, fmt.Errorf("user %q is disabled, and no token would be good: enable the user first: %w", u.Name, ci.ErrConflict)
	}
	secret, made, err := a.cfg.Tokens.Issue(ctx, ci.Token{User: u.Name, Note: n.Note, Scopes: n.Scopes, Expires: expires})
	if err != nil {
		return IssuedToken{}, err
	}
	return IssuedToken{made, secret}, a.changed(ctx, by, createToken, "", "", describeToken(made))
}

// noMore refuses what the token that asks has not itself.
func (a *App) noMore(by ci.User, scopes []string, expires time.Time) error {
	if !a.reaches(by, scopes) {
		return fmt.Errorf("the token that asks has the scopes %s, and the new one would reach further: give it at most these, or use another token: %w",
			strings.Join(by.Token.Scopes, ", "), ci.ErrDenied)
	}
	if by.Token == nil || by.Token.Expires.IsZero() || by.Token.Session {
		return nil // a session is the person, who may make a token that outlives it
	}
	if expires.IsZero() || expires.After(by.Token.Expires) {
		return fmt.Errorf("the token that asks expires %s, and the new one would live longer: have it expire by then, or use another token: %w",
			by.Token.Expires.UTC().Format(time.RFC3339), ci.ErrDenied)
	}
	return nil
}

// Limits of what a token may say. Beyond maxLife the store could not write down
// the time.
const (
	maxNote   = 255
	maxScopes = 100
	maxLife   = 10 * 366 * 24 * time.Hour
)

// checkToken says all that is wrong with what is asked for, and when it expires.
func (a *App) checkToken(n NewToken) (expires time.Time, err error) {
	in := &Invalid{}
	in.line("note", n.Note, maxNote)
	if len(n.Scopes) > maxScopes {
		in.add("scopes", "%d scopes: want at most %d", len(n.Scopes), maxScopes)
		n.Scopes = nil
	}
	for i, s := range n.Scopes {
		if err := a.cfg.Tokens.CheckScopes([]string{s}); err != nil {
			in.add(fmt.Sprintf("scopes[%d]", i), "%s", ci.Message(err))
		}
	}
	now := a.cfg.Now()
	expires, at := n.Expires, "expires"
	if n.Lifetime != "" {
		at = "lifetime"
		d, err := time.ParseDuration(n.Lifetime)
		switch {
		case !n.Expires.IsZero():
			in.add(at, "want either this or expires")
		case err != nil:
			in.add(at, "%.100q is no time: want hours, minutes and seconds, such as 720h or 1h30m", n.Lifetime)
		default:
			expires = now.Add(d)
		}
	}
	switch {
	case !expires.IsZero() && !expires.After(now):
		in.add(at, "want a time to come")
	case expires.After(now.Add(maxLife)):
		in.add(at, "want at most 10 years, or nothing for a token that does not expire")
	}
	return expires, in.err()
}

// RevokeToken ends a token: one's own, or anybody's when an administrator asks.
// Who may not see it is told that there is none.
func (a *App) RevokeToken(ctx context.Context, id string) error {
	u, err := asking(ctx)
	if err != nil {
		return err
	}
	k, err := a.findToken(ctx, "", id)
	if _, no := manage(ctx, revokeToken); no == nil && errors.Is(err, ci.ErrNotFound) {
		k, err = a.findToken(ctx, Everybody, id)
	}
	if err != nil {
		return err
	}
	ctx = a.noting(ctx, u, revokeToken, "", describeToken(k))
	if err := a.cfg.Store.DeleteToken(ctx, k.ID); err != nil {
		return err
	}
	return a.changed(ctx, u, revokeToken, "", "", describeToken(k))
}

func (a *App) findToken(ctx context.Context, user, id string) (ci.Token, error) {
	all, err := a.Tokens(ctx, user)
	if err != nil {
		return ci.Token{}, err
	}
	i := slices.IndexFunc(all, func(k ci.Token) bool { return k.ID == id })
	if i < 0 {
		return ci.Token{}, fmt.Errorf("token %.100q: %w", id, ci.ErrNotFound)
	}
	return all[i], nil
}

// describeToken is a token for the audit.
func describeToken(k ci.Token) string {
	text := fmt.Sprintf("token %s of user %q, scopes %q", k.ID, k.User, k.Scopes)
	if k.Session {
		text = fmt.Sprintf("session %s of user %q", k.ID, k.User)
	}
	if !k.Expires.IsZero() {
		text += ", expires " + k.Expires.UTC().Format(time.RFC3339)
	}
	return text
}
