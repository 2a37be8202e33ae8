package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Secret is what a server tells of a value that it keeps for builds: never the value.
type Secret struct {
	Project     string    `json:"project,omitempty"` // whose it is; "" = a global one
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Projects    []string  `json:"projects,omitempty"` // of a global one: who may use it; "*" = all
	Version     int64     `json:"version"`            // number of the newest
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// SecretVersion is a value that a secret has or had.
type SecretVersion struct {
	Number  int64     `json:"number"`
	Key     string    `json:"key"` // ID of the master key that it is sealed under
	By      string    `json:"by"`
	Created time.Time `json:"created"`
}

// SecretUse is the last time that a build was given a secret.
type SecretUse struct {
	Build   string `json:"build"`
	Version int64  `json:"version"`
	Time    string `json:"time"`
}

// SecretInfo is a secret with its versions, the newest first.
type SecretInfo struct {
	Secret
	Versions []SecretVersion `json:"versions"`
	LastUse  *SecretUse      `json:"lastUse,omitempty"`
}

// NewSecret is a value to keep.
type NewSecret struct {
	Name        string `json:"name"`
	Value       string `json:"value"`
	Description string `json:"description,omitempty"` // "" = as it was
}

// SecretKey is what is known of a master key of the server.
type SecretKey struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Values  int64     `json:"values"` // that are sealed under it
}

// KeyRotation is what a rotation of the master key did.
type KeyRotation struct {
	Key      string      `json:"key"` // that values are sealed under now
	Resealed int         `json:"resealed"`
	Keys     []SecretKey `json:"keys"`
}

// holder is where the secrets of a project are; "" = the global ones.
func holder(project, rest string) string {
	if project == "" {
		return rest
	}
	return at("projects", project) + rest
}

// Secrets lists the secrets that builds of a project may use; for "" all global
// ones, which is for administrators.
func (c *Client) Secrets(ctx context.Context, project string) ([]Secret, error) {
	page, err := get[Page[Secret]](ctx, c, holder(project, "/secrets"), nil)
	return page.Items, err
}

// Secret shows a secret of a project, or for "" a global one.
func (c *Client) Secret(ctx context.Context, project, name string) (SecretInfo, error) {
	return get[SecretInfo](ctx, c, holder(project, "/secret"), url.Values{"name": {name}})
}

// SetSecret keeps a value as the newest version of a secret.
func (c *Client) SetSecret(ctx context.Context, project string, n NewSecret) (Secret, error) {
	var out Secret
	_, err := c.call(ctx, request{method: http.MethodPut, path: holder(project, "/secret"), body: n}, &out)
	return out, err
}

// DeleteSecret removes a secret with all its versions.
func (c *Client) DeleteSecret(ctx context.Context, project, name string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: holder(project, "/secret"), query: url.Values{"name": {name}}}, nil)
	return err
}

// PruneSecret removes all but the newest versions of a secret, and says how many.
func (c *Client) PruneSecret(ctx context.Context, project, name string, keep int64) (removed int64, err error) {
	var out struct {
		Removed int64 `json:"removed"`
	}
	in := map[string]any{"name": name, "keep": keep}
	_, err = c.call(ctx, request{method: http.MethodPost, path: holder(project, "/secret/prune"), body: in}, &out)
	return out.Removed, err
}

// GrantSecret says which projects may use a global secret, in place of those that
// might before; "*" for all.
func (c *Client) GrantSecret(ctx context.Context, name string, projects []string) (Secret, error) {
	var out Secret
	in := map[string]any{"name": name, "projects": append([]string{}, projects...)}
	_, err := c.call(ctx, request{method: http.MethodPut, path: "/secret/projects", body: in}, &out)
	return out, err
}

// RotateMasterKey seals all secrets of the server under a new master key. With
// forget the old ones are dropped.
func (c *Client) RotateMasterKey(ctx context.Context, forget bool) (KeyRotation, error) {
	var out KeyRotation
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/secret-key", body: map[string]bool{"forget": forget}}, &out)
	return out, err
}
