package client

import (
	"context"
	"net/http"
	"time"
)

// Group gives roles to all users who are in it.
type Group struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Role        string            `json:"role,omitempty"`     // of the whole server; the greatest of a user's own and those of his groups counts
	Projects    map[string]string `json:"projects,omitempty"` // roles in projects, over Role
	Members     []string          `json:"members,omitempty"`  // SetMember changes them
	Created     time.Time         `json:"created"`            // the server's to say
	Revision    int64             `json:"revision"`           // the same
}

// Groups lists the groups by name. Like all calls about groups it is for administrators.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	page, err := get[Page[Group]](ctx, c, "/groups", nil)
	return page.Items, err
}

// Group shows a group.
func (c *Client) Group(ctx context.Context, name string) (Group, error) {
	return get[Group](ctx, c, at("groups", name), nil)
}

// PutGroup makes a group, or replaces the one of that name; its members stay as
// they are. Revision is as in PutUser.
func (c *Client) PutGroup(ctx context.Context, g Group) (Group, error) {
	var out Group
	revision := g.Revision
	g.Members = nil
	_, err := c.call(ctx, request{method: http.MethodPut, path: at("groups", g.Name), header: ifMatch(revision), body: g}, &out)
	return out, err
}

// DeleteGroup removes a group; its members lose what it gave them.
func (c *Client) DeleteGroup(ctx context.Context, name string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: at("groups", name)}, nil)
	return err
}

// SetMember puts a user into a group, or takes the user out.
func (c *Client) SetMember(ctx context.Context, group, user string, member bool) error {
	method := http.MethodPut
	if !member {
		method = http.MethodDelete
	}
	_, err := c.call(ctx, request{method: method, path: at("groups", group, "members", user)}, nil)
	return err
}
