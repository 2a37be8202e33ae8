package client

import (
	"context"
	"net/http"
)

// NewLogin asks for a session.
type NewLogin struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Note     string `json:"note,omitempty"` // what the session is for
}

// NewPassword is a change of a password.
type NewPassword struct {
	Password string `json:"password"`
	Current  string `json:"current,omitempty"` // for one's own, where there is one
}

// Login makes a session: a token with an end, whose secret no other call gives.
// It needs no token. After too many failures the error's Status is 429.
func (c *Client) Login(ctx context.Context, n NewLogin) (IssuedToken, error) {
	var out IssuedToken
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/login", body: n}, &out)
	return out, err
}

// LoginMethods says how one can log in.
type LoginMethods struct {
	Password bool   `json:"password"`
	SSO      string `json:"sso,omitempty"` // path where a browser begins a login at the identity provider; "" = there is none
}

// LoginMethods asks how one can log in. It needs no token.
func (c *Client) LoginMethods(ctx context.Context) (LoginMethods, error) {
	return get[LoginMethods](ctx, c, "/login", nil)
}

// NewHandover asks for the session of a login at the identity provider.
type NewHandover struct {
	Code   string `json:"code"`   // what the browser was given at the end
	Secret string `json:"secret"` // whose SHA-256, in base64url, was the challenge at the beginning
}

// TakeLogin takes the session of a login that a browser has made.
func (c *Client) TakeLogin(ctx context.Context, n NewHandover) (IssuedToken, error) {
	var out IssuedToken
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/login/code", body: n}, &out)
	return out, err
}

// Logout ends the session whose secret the client has.
func (c *Client) Logout(ctx context.Context) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/login"}, nil)
	return err
}

// SetPassword sets the password of a user, one's own or as an administrator any,
// and ends the user's sessions but the one that asks.
func (c *Client) SetPassword(ctx context.Context, user string, p NewPassword) error {
	_, err := c.call(ctx, request{method: http.MethodPut, path: at("users", user) + "/password", body: p}, nil)
	return err
}
