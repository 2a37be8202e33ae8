package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// NewIDToken asks for a signed token.
type NewIDToken struct {
	Audience  string `json:"audience"`            // who it is for, such as sts.amazonaws.com
	Algorithm string `json:"algorithm,omitempty"` // "" = RS256, or ES256
}

// IDToken is a signed token that says which build has it.
type IDToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// IDToken gives a build a signed token that says who it is. The client's token
// must be the build's own, the one in its SLUICE_TOKEN.
func (c *Client) IDToken(ctx context.Context, project string, number int64, n NewIDToken) (IDToken, error) {
	var out IDToken
	_, err := c.call(ctx, request{method: http.MethodPost, path: at("projects", project, "builds", strconv.FormatInt(number, 10), "id-token"), body: n}, &out)
	return out, err
}

// RotateIdentityKeys makes new keys that the identity of builds is signed with;
// for administrators.
func (c *Client) RotateIdentityKeys(ctx context.Context) error {
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/identity-keys"}, nil)
	return err
}
