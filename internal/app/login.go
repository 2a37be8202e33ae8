package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Logins knows people by their passwords: auth.Auth.
type Logins interface {
	// Login finds a user. ci.ErrDenied says that something is wrong and not what,
	// *ci.TooMany that it was tried too often.
	Login(ctx context.Context, user, password, address string) (ci.User, error)
	// OpenSession makes a session, whose secret is the answer, this once.
	OpenSession(ctx context.Context, user, note string, life time.Duration) (secret string, made ci.Token, err error)
	// CheckPassword says what is wrong with a new password.
	CheckPassword(user, password string) error
	HashPassword(ctx context.Context, password string) (string, error)
	// PasswordLinkOf finds what the code of a link is for: its owner's password.
	PasswordLinkOf(ctx context.Context, code string) (ci.Code, error)
	// NewCode makes a code that is good once and for a while; TakeCode uses it up.
	NewCode(ctx context.Context, c ci.Code, life time.Duration) (code string, err error)
	TakeCode(ctx context.Context, kind, code string) (ci.Code, error)
}

// NewLogin asks for a session.
type NewLogin struct {
	User     string
	Password string
	Note     string // what the session is for
}

// Login makes a session for somebody with a password. Nobody need be logged in.
// What is wrong with the user or the password is ci.ErrDenied, and not told apart.
func (a *App) Login(ctx context.Context, from ci.Origin, n NewLogin) (IssuedToken, error) {
	in := &Invalid{}
	in.line("note", n.Note, maxNote)
	if err := in.err(); err != nil {
		return IssuedToken{}, err
	}
	u, err := ci.User{}, fmt.Errorf("the user or the password is wrong: %w", ci.ErrDenied)
	if len(n.User) <= 10*maxUserName {
		u, err = a.cfg.Tokens.Login(ctx, n.User, n.Password, from.Address)
	}
	if err != nil {
		if errors.Is(err, ci.ErrDenied) {
			err = errors.Join(err, a.failed(ctx, from, n.User))
		}
		return IssuedToken{}, err
	}
	u.From = from
	return a.openSession(ctx, u, n.Note, "by password")
}

// openSession makes a session of a user who has shown who he is.
func (a *App) openSession(ctx context.Context, u ci.User, note, how string) (IssuedToken, error) {
	ctx = a.noting(ctx, u, logIn, "", how)
	secret, made, err := a.cfg.Tokens.OpenSession(ctx, u.Name, note, a.cfg.SessionLife)
	if err != nil {
		return IssuedToken{}, err
	}
	return IssuedToken{made, secret}, a.changed(ctx, u, logIn, "", "", how)
}

// failed writes down a login that failed. The name is only kept when there is
// such a user: people type passwords where names should be.
func (a *App) failed(ctx context.Context, from ci.Origin, name string) error {
	e := ci.User{From: from}.Entry(string(failLogin))
	e.Time, e.Detail = a.cfg.Now(), "no such user"
	if u, err := a.findUser(ctx, name); err == nil {
		if e.User, e.Detail = u.Name, "wrong password"; u.Disabled {
			e.Detail = "the user is disabled"
		}
	}
	return a.note(ctx, e)
}

// Logout ends the session that asks.
func (a *App) Logout(ctx context.Context) error {
	u, err := asking(ctx)
	if err != nil {
		return err
	}
	if u.Token == nil || !u.Token.Session {
		return fmt.Errorf("this is a token and not a session: end it with 'sluice token revoke': %w", ci.ErrConflict)
	}
	ctx = a.noting(ctx, u, endSession, "", "")
	if err := a.cfg.Store.DeleteToken(ctx, u.Token.ID); err != nil && !errors.Is(err, ci.ErrNotFound) {
		return err
	}
	return a.changed(ctx, u, endSession, "", "", "")
}

// SetPassword gives a user a password, and ends the user's sessions but the one
// that asks. One's own takes the current one, where there is one; that of another
// user an administrator.
func (a *App) SetPassword(ctx context.Context, name, password, current string) error {
	by, err := asking(ctx)
	if err != nil {
		return err
	}
	keep := ""
	if name != by.Name {
		if _, err := manage(ctx, setPassword); err != nil {
			return err
		}
	} else if by.Token != nil {
		// A password reaches as far as its user and does not end.
		if !a.reaches(by, nil) || !by.Token.Session && !by.Token.Expires.IsZero() {
			return fmt.Errorf("the token that asks has scopes or an end, and a password has none: log in, or use another token: %w", ci.ErrDenied)
		}
		keep = by.Token.ID
	}
	u, err := a.findUser(ctx, name)
	if err != nil {
		return err
	}
	if err := a.checkPassword(name, password); err != nil {
		return err
	}
	if name == by.Name && u.Password != "" {
		if _, err := a.cfg.Tokens.Login(ctx, name, current, by.From.Address); errors.Is(err, ci.ErrDenied) {
			in := &Invalid{}
			in.add("current", "that is not the current password of %s", name)
			return errors.Join(in, a.failed(ctx, by.From, name))
		} else if err != nil {
			return err
		}
	}
	return a.storePassword(ctx, by, ci.NewPassword{User: name, Keep: keep}, password, fmt.Sprintf("user %q", name))
}

func (a *App) checkPassword(user, password string) error {
	in := &Invalid{}
	if err := a.cfg.Tokens.CheckPassword(user, password); err != nil {
		in.add("password", "%s", ci.Message(err))
	}
	return in.err()
}

func (a *App) storePassword(ctx context.Context, by ci.User, p ci.NewPassword, password, detail string) (err error) {
	if p.Hash, err = a.cfg.Tokens.HashPassword(ctx, password); err != nil {
		return err
	}
	ctx = a.noting(ctx, by, setPassword, "", detail)
	if err := a.cfg.Store.SetPassword(ctx, p); err != nil {
		return err
	}
	return a.changed(ctx, by, setPassword, "", "", detail)
}

// PasswordLinkOf says whose password the code of a link sets, and leaves the
// code. One that is unknown, used or expired is ci.ErrNotFound.
func (a *App) PasswordLinkOf(ctx context.Context, code string) (user string, err error) {
	c, err := a.cfg.Tokens.PasswordLinkOf(ctx, code)
	return c.Owner, err
}

// UsePasswordLink sets the password that a link is for. The link is used up
// then, and only then.
func (a *App) UsePasswordLink(ctx context.Context, from ci.Origin, code, password string) error {
	c, err := a.cfg.Tokens.PasswordLinkOf(ctx, code)
	if err != nil {
		return err
	}
	if err := a.checkPassword(c.Owner, password); err != nil {
		return err
	}
	by := ci.User{Name: c.Owner, From: from}
	return a.storePassword(ctx, by, ci.NewPassword{User: c.Owner, Code: c.Hash}, password, fmt.Sprintf("user %q, by a link", c.Owner))
}
