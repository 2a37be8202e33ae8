package app

import (
	"context"
)

// Peer says where another server is that has the files of a build, as far as they
// are on no disk that both can read: its logs, and what it has not handed over
// yet. "" = they are here, or that server is gone.
func (a *App) Peer(ctx context.Context, project string, number int64) (url string, err error) {
	if a.cfg.Node == "" {
		return "", nil
	}
	id, _, err := a.find(ctx, viewBuild, project, number)
	if err != nil {
		return "", err
	}
	b, err := a.cfg.Engine.Build(ctx, id)
	if err != nil || b.Node == "" || b.Node == a.cfg.Node {
		return "", err
	}
	nodes, err := a.cfg.Store.Nodes(ctx)
	for _, n := range nodes {
		if n.Name == b.Node && n.Left > 0 {
			return n.URL, err
		}
	}
	return "", err
}

// NodeInfo is a server among those that share a database.
type NodeInfo struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Alive bool   `json:"alive"` // it was heard of lately
	Here  bool   `json:"here"`  // it is the one that answers
}

// Nodes lists the servers that share the database, for administrators; none
// where there is only this one.
func (a *App) Nodes(ctx context.Context) ([]NodeInfo, error) {
	if _, err := manage(ctx, viewNode); err != nil {
		return nil, err
	}
	nodes, err := a.cfg.Store.Nodes(ctx)
	list := make([]NodeInfo, len(nodes))
	for i, n := range nodes {
		list[i] = NodeInfo{Name: n.Name, URL: n.URL, Alive: n.Left > 0, Here: n.Name == a.cfg.Node}
	}
	return list, err
}

const viewNode verb = "node.view"
