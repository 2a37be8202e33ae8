package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/oidc"
)

// SSO is how people log in at an identity provider.
type SSO struct {
	Provider *oidc.Provider
	Redirect func() string // where the provider sends browsers: the face's callback
	Create   bool          // make users at their first login; else they must be there
	Role     ci.Role       // of users who are made so
	Groups   bool          // the provider says in which groups users are
}

// Kinds of codes.
const (
	flowCode     = "oidc"     // a login under way at the provider; known to the browser as the state
	handoverCode = "handover" // a login that has succeeded, for the program that began it
)

const (
	flowLife     = 10 * time.Minute // for a person to log in at the provider
	handoverLife = 5 * time.Minute  // for a person to copy the code
)

// SSOLogin begins a login at the identity provider for a program.
type SSOLogin struct {
	Challenge string // base64url of the SHA-256 of a secret that only the program knows
	Redirect  string // where on this machine the program listens; "" = the person copies the code
	State     string // comes back to Redirect
	Note      string // what the session is for
}

// flow is what is kept of a login under way.
type flow struct {
	Provider oidc.Flow
	Login    SSOLogin
}

var errNoSSO = fmt.Errorf("this server has no identity provider: log in with a password: %w", ci.ErrConflict)

// HasSSO says whether there is an identity provider.
func (a *App) HasSSO() bool { return a.cfg.SSO != nil }

// BeginSSO says where to send the browser, and the state that it must come back
// with.
func (a *App) BeginSSO(ctx context.Context, l SSOLogin) (address, state string, err error) {
	if a.cfg.SSO == nil {
		return "", "", errNoSSO
	}
	if err := l.check(); err != nil {
		return "", "", err
	}
	f := flow{Provider: oidc.NewFlow(a.cfg.SSO.Redirect()), Login: l}
	data, err := json.Marshal(f)
	if err != nil {
		return "", "", fmt.Errorf("begin a login: %w", err)
	}
	if state, err = a.cfg.Tokens.NewCode(ctx, ci.Code{Kind: flowCode, Data: string(data)}, flowLife); err != nil {
		return "", "", err
	}
	address, err = a.cfg.SSO.Provider.Begin(ctx, f.Provider, state)
	return address, state, err
}

func (l SSOLogin) check() error {
	in := &Invalid{}
	if sum, err := base64.RawURLEncoding.Strict().DecodeString(l.Challenge); err != nil || len(sum) != sha256.Size {
		in.add("challenge", "want the SHA-256 of a secret in base64url, without padding; 'sluice login' sends one")
	}
	if l.Redirect != "" && !loopback(l.Redirect) {
		in.add("redirect", "want an address of this machine, such as http://127.0.0.1:PORT/callback")
	}
	in.line("state", l.State, maxNote)
	in.line("note", l.Note, maxNote)
	return in.err()
}

// loopback says whether an address is one at which a program on the person's own
// machine listens. A code sent anywhere else would be somebody else's.
func loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || u.Port() == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// SSODone is a login that has succeeded at the provider.
type SSODone struct {
	User     string
	Redirect string // where to send the browser; "" = the person copies Code
	Code     string // with which, and its secret, the program gets the session
}

// FinishSSO takes what the provider sent the browser back with. Who may not come
// in, and a login that is not under way, is ci.ErrDenied.
func (a *App) FinishSSO(ctx context.Context, from ci.Origin, state, code string) (SSODone, error) {
	if a.cfg.SSO == nil {
		return SSODone{}, errNoSSO
	}
	c, err := a.cfg.Tokens.TakeCode(ctx, flowCode, state)
	if errors.Is(err, ci.ErrNotFound) {
		err = fmt.Errorf("the login took too long or is done already; begin again: %w", ci.ErrDenied)
	}
	if err != nil {
		return SSODone{}, err
	}
	var f flow
	if err := json.Unmarshal([]byte(c.Data), &f); err != nil {
		return SSODone{}, fmt.Errorf("a login under way: %w", err)
	}
	who, err := a.cfg.SSO.Provider.Finish(ctx, f.Provider, code)
	var u ci.User
	if err == nil {
		u, err = a.identified(ctx, from, who)
	}
	if err != nil {
		if errors.Is(err, ci.ErrDenied) {
			e := ci.User{From: from}.Entry(string(failLogin))
			e.Time, e.Detail = a.cfg.Now(), strings.TrimSpace(fmt.Sprintf("at the identity provider, %q %q: %s", who.Name, who.Key(), ci.Message(err)))
			err = errors.Join(err, a.note(ctx, e))
		}
		return SSODone{}, err
	}
	data, err := json.Marshal(f.Login)
	if err != nil {
		return SSODone{}, fmt.Errorf("hand over a login: %w", err)
	}
	done := SSODone{User: u.Name}
	if done.Code, err = a.cfg.Tokens.NewCode(ctx, ci.Code{Kind: handoverCode, Owner: u.Name, Data: string(data)}, handoverLife); err != nil {
		return SSODone{}, err
	}
	if f.Login.Redirect != "" {
		done.Redirect = f.Login.Redirect + "?" + url.Values{"code": {done.Code}, "state": {f.Login.State}}.Encode()
	}
	return done, nil
}

// Handover gives the program that began a login its session: it knows the code,
// and the secret whose hash it began with.
func (a *App) Handover(ctx context.Context, from ci.Origin, code, secret string) (IssuedToken, error) {
	denied := fmt.Errorf("the code is not good (any more): begin again: %w", ci.ErrDenied)
	c, err := a.cfg.Tokens.TakeCode(ctx, handoverCode, code)
	if errors.Is(err, ci.ErrNotFound) {
		return IssuedToken{}, denied
	}
	if err != nil {
		return IssuedToken{}, err
	}
	var l SSOLogin
	if err := json.Unmarshal([]byte(c.Data), &l); err != nil {
		return IssuedToken{}, fmt.Errorf("hand over a login: %w", err)
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(l.Challenge)) != 1 {
		return IssuedToken{}, denied
	}
	u, err := a.findUser(ctx, c.Owner)
	if errors.Is(err, ci.ErrNotFound) || err == nil && u.Disabled {
		return IssuedToken{}, denied
	}
	if err != nil {
		return IssuedToken{}, err
	}
	u.From = from
	return a.openSession(ctx, u, l.Note, "at the identity provider")
}

// identified finds the user whom an identity is, makes him where that is wanted,
// and puts him into the groups that the provider says.
func (a *App) identified(ctx context.Context, from ci.Origin, who ci.Identity) (ci.User, error) {
	a.people.Lock()
	defer a.people.Unlock()
	users, err := a.cfg.Store.Users(ctx)
	if err != nil {
		return ci.User{}, err
	}
	i := slices.IndexFunc(users, func(u ci.User) bool { return u.Identity == who.Key() })
	var u ci.User
	if i >= 0 {
		u = users[i]
	} else if u, err = a.link(ctx, from, who); err != nil {
		return ci.User{}, err
	}
	if u.Disabled {
		return ci.User{}, fmt.Errorf("the user %q is disabled here: %w", u.Name, ci.ErrDenied)
	}
	if !a.cfg.SSO.Groups {
		return u, nil
	}
	return a.provided(ctx, from, u, who.Groups)
}

// link gives an identity that comes for the first time its user: one of that name
// who was made for it, which is one without a password and tokens of his own, or
// a new one.
func (a *App) link(ctx context.Context, from ci.Origin, who ci.Identity) (ci.User, error) {
	u, err := a.findUser(ctx, who.Name)
	made := errors.Is(err, ci.ErrNotFound)
	switch {
	case made && !ValidUserName(who.Name):
		return u, fmt.Errorf("the identity provider calls you %.100q, which cannot be the name of a user here: %w", who.Name, ci.ErrDenied)
	case made && !a.cfg.SSO.Create:
		return u, fmt.Errorf("there is no user %q here: ask an administrator to make one: %w", who.Name, ci.ErrDenied)
	case made:
		u = ci.User{Name: who.Name, Role: a.cfg.SSO.Role, Full: who.Full, Mail: who.Mail, Revision: -1}
		if checkUser(u, ci.User{}) != nil {
			u.Full, u.Mail = "", "" // what cannot be shown is left out
		}
	case err != nil || u.Disabled:
		return u, err
	default:
		tokens, err := a.cfg.Store.Tokens(ctx, u.Name)
		if err != nil {
			return u, err
		}
		if u.Identity != "" || u.Password != "" || len(tokens) > 0 {
			return u, fmt.Errorf("there is another user %q here already, who logs in otherwise: ask an administrator: %w", who.Name, ci.ErrDenied)
		}
	}
	u.Identity = who.Key()
	by := ci.User{Name: u.Name, From: from}
	v := updateUser
	if made {
		v = createUser
	}
	detail := describe(u) + ", by a login at " + who.Issuer
	ctx = a.noting(ctx, by, v, "", detail)
	put, err := a.cfg.Store.PutUser(ctx, u)
	if errors.Is(err, ci.ErrConflict) { // another server of the same database was faster
		err = fmt.Errorf("the user %q was changed at the same moment: log in again: %w", u.Name, ci.ErrDenied)
	}
	if err != nil {
		return u, err
	}
	return put, a.changed(ctx, by, v, "", "", detail)
}

// maxClaimed is how many groups the provider may name.
const maxClaimed = 1000

// provided puts a user into the groups of this server that the provider names,
// and out of those that it named before and names no more.
func (a *App) provided(ctx context.Context, from ci.Origin, u ci.User, claimed []string) (ci.User, error) {
	claimed = slices.DeleteFunc(slices.Clone(claimed), func(name string) bool { return !ValidUserName(name) })
	var names []string
	if len(claimed) > 0 {
		groups, err := a.cfg.Store.Groups(ctx, claimed[:min(len(claimed), maxClaimed)]...)
		if err != nil {
			return u, err
		}
		for _, g := range groups {
			names = append(names, g.Name)
		}
	}
	own := func(u ci.User) []string {
		return slices.DeleteFunc(slices.Clone(u.Groups), func(g string) bool { return slices.Contains(u.Provided, g) })
	}
	names = slices.DeleteFunc(names, func(g string) bool { return slices.Contains(own(u), g) })
	if slices.Equal(names, u.Provided) {
		return u, nil
	}
	by := ci.User{Name: u.Name, From: from}
	detail := fmt.Sprintf("user %q: groups of the identity provider: %s", u.Name, strings.Join(names, " "))
	ctx = a.noting(ctx, by, updateUser, "", detail)
	put, err := a.cfg.Store.ChangeGroups(ctx, u.Name, func(u *ci.User) {
		u.Groups = append(own(*u), names...)
		u.Provided = names
	})
	if err != nil {
		return u, err
	}
	return put, a.changed(ctx, by, updateUser, "", "", detail)
}
