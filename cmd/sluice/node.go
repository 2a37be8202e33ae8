package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/engine"
)

func newNode() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "The servers that share a database; for administrators",
		Long: `Servers that share a PostgreSQL database are one service: each takes requests,
runs builds, takes over what waits elsewhere while it has room, and, when another
has been silent for its lease, that one's builds.`,
		Example: `  sluice node list`,
	}
	cmd.AddCommand(newNodeList())
	return cmd
}

func newNodeList() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the servers, and which of them live", Args: cobra.NoArgs,
		Example: "  sluice node list\n  sluice node list --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			all, err := c.Nodes(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"NAME", "STATE", "URL"}}
			for _, n := range all {
				state := "gone"
				if n.Alive {
					state = "alive"
				}
				if n.Here {
					state += ", here"
				}
				rows = append(rows, []string{n.Name, state, n.URL})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(cmd.Flags())
	return cmd
}

// node is who this server is among those that share its database; nothing where
// the database is this server's alone.
func (s *server) node() (engine.Node, engine.Shared, error) {
	if !strings.HasPrefix(s.cfg.database, "postgres") {
		return engine.Node{}, nil, nil
	}
	name, err := nodeName(s.path("node"))
	if err != nil {
		return engine.Node{}, nil, err
	}
	return engine.Node{Name: name, URL: func() string { return s.cfg.url }, Lease: s.cfg.lease}, s.db, nil
}

// nodeName is kept in the data folder, because what the folder holds makes this
// server the one that can go on with its builds.
func nodeName(path string) (string, error) {
	text, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(text)); err == nil && name != "" {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the server's name among others: %w", err)
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "node"
	}
	name := host + "-" + strings.ToLower(rand.Text()[:8])
	if err := writePrivate(path, name+"\n"); err != nil {
		return "", fmt.Errorf("the server's name among others: %w", err)
	}
	return name, nil
}
