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
