package client

import "context"

// Node is a server among those that share a database.
type Node struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Alive bool   `json:"alive"` // it was heard of lately
	Here  bool   `json:"here"`  // it is the one that answered
}

// Nodes lists the servers that share the database, by name; none where there is
// only one. It is for administrators.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	page, err := get[Page[Node]](ctx, c, "/nodes", nil)
	return page.Items, err
}
