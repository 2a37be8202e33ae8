package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// User is somebody who has access to a server.
type User struct {
	Name     string            `json:"name"`
	Full     string            `json:"fullName,omitempty"`
	Mail     string            `json:"mail,omitempty"`
	Role     string            `json:"role,omitempty"`           // of the whole server: "" = none, viewer, builder, maintainer, admin
	Projects map[string]string `json:"projects,omitempty"`       // roles in projects, over Role
	Groups   []string          `json:"groups,omitempty"`         // SetMember changes them
	Provided []string          `json:"providedGroups,omitempty"` // those of Groups that the identity provider said
	Identity string            `json:"identity,omitempty"`       // at the identity provider: the server's to say
	Disabled bool              `json:"disabled,omitempty"`
	Created  time.Time         `json:"created"`  // the server's to say
	Revision int64             `json:"revision"` // the same
}

// Me is who asks, with no more rights than the token leaves.
type Me struct {
	User
	Scopes  []string  `json:"scopes,omitempty"`      // of the token; none = all that the user may
	Expires time.Time `json:"tokenExpires,omitzero"` // zero = never
}

// Token lets a program act for a user. Its secret is not among what is known of it.
type Token struct {
	ID       string    `json:"id"`
	User     string    `json:"user"`
	Note     string    `json:"note,omitempty"`
	Scopes   []string  `json:"scopes,omitempty"` // "role:viewer", "project:web"; none = all that the user may
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`  // zero = never
	LastUsed time.Time `json:"lastUsed,omitzero"` // zero = never; to about ten minutes
	Session  bool      `json:"session,omitempty"` // made by logging in
}

// NewToken asks for a token.
type NewToken struct {
	User     string    `json:"user,omitempty"` // "" = who asks; others are for administrators
	Note     string    `json:"note,omitempty"`
	Scopes   []string  `json:"scopes,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Lifetime string    `json:"lifetime,omitempty"` // instead of Expires: how long it is good, such as "720h"
}

// IssuedToken is a new token with its secret, which no other call gives.
type IssuedToken struct {
	Token
	Secret string `json:"secret"`
}

// Users lists the users by name. Like all calls about users but Me it is for
// administrators.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	page, err := get[Page[User]](ctx, c, "/users", nil)
	return page.Items, err
}

// User shows a user.
func (c *Client) User(ctx context.Context, name string) (User, error) {
	return get[User](ctx, c, at("users", name), nil)
}

// PutUser makes a user, or replaces the one of that name: what u leaves out is
// empty afterwards. With a Revision other than 0 the one that is there must still
// be of that revision: else the error's Code is "changed".
func (c *Client) PutUser(ctx context.Context, u User) (User, error) {
	var out User
	_, err := c.call(ctx, request{method: http.MethodPut, path: at("users", u.Name), header: ifMatch(u.Revision), body: u}, &out)
	return out, err
}

// DeleteUser removes a user and ends all tokens of that user.
func (c *Client) DeleteUser(ctx context.Context, name string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: at("users", name)}, nil)
	return err
}

// Me shows who the client's token belongs to.
func (c *Client) Me(ctx context.Context) (Me, error) { return get[Me](ctx, c, "/me", nil) }

// Tokens lists the tokens of a user: one's own for "", and for administrators
// those of others, or of all for "*".
func (c *Client) Tokens(ctx context.Context, user string) ([]Token, error) {
	q := url.Values{}
	if user != "" {
		q.Set("user", user)
	}
	page, err := get[Page[Token]](ctx, c, "/tokens", q)
	return page.Items, err
}

// CreateToken makes a token. It reaches no further than the client's own, and
// lives no longer.
func (c *Client) CreateToken(ctx context.Context, n NewToken) (IssuedToken, error) {
	var out IssuedToken
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/tokens", body: n}, &out)
	return out, err
}

// RevokeToken ends a token, at once. The id is not the secret.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: at("tokens", id)}, nil)
	return err
}
