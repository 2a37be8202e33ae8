package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

func newGroup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Groups of users, which have roles; for administrators of a server",
		Long: `A group gives its roles to all users who are in it. In the whole server the
greatest role of a user and of the user's groups counts. In a project the user's
own role there counts if there is one, else the greatest that groups give there,
else that of the whole server, unless the project is private.`,
		Example: `  sluice group set web-team --role viewer --project web=maintainer
  sluice group add web-team ann bob
  sluice group list`,
	}
	cmd.AddCommand(newGroupList(), newGroupShow(), newGroupSet(), newGroupMember(true), newGroupMember(false), newGroupDelete())
	return cmd
}

func newGroupList() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the groups", Args: cobra.NoArgs,
		Example: "  sluice group list\n  sluice group list --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			all, err := c.Groups(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"NAME", "ROLE", "PROJECTS", "MEMBERS", "DESCRIPTION"}}
			for _, g := range all {
				rows = append(rows, []string{g.Name, orDash(g.Role), orDash(rolesIn(client.User{Projects: g.Projects})), orDash(strings.Join(g.Members, " ")), orDash(g.Description)})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(cmd.Flags())
	return cmd
}

func newGroupShow() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a group and who is in it as JSON", Args: cobra.ExactArgs(1),
		Example: "  sluice group show web-team",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			g, err := c.Group(ctx, args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd, g)
		}),
	}
	r.register(cmd.Flags())
	return cmd
}

func newGroupSet() *cobra.Command {
	var r remote
	var f userFlags
	var description string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Make a group, or change one", Args: cobra.ExactArgs(1),
		Long: `Set makes the group if there is none of that name. Of one that is there it changes
what the flags name, and leaves the rest. It holds from the next request on.`,
		Example: `  sluice group set web-team --role viewer --project web=maintainer --description 'who keeps the shop'
  sluice group set web-team --project web=none`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			g, err := c.Group(ctx, args[0])
			made := client.IsNotFound(err)
			if err != nil && !made {
				return err
			}
			if made {
				g = client.Group{Name: args[0]}
			}
			u := client.User{Role: g.Role, Projects: g.Projects}
			f.change(&u, cmd.Flags().Changed)
			if g.Role, g.Projects = u.Role, u.Projects; cmd.Flags().Changed("description") {
				g.Description = description
			}
			if g, err = c.PutGroup(ctx, g); err != nil {
				return err
			}
			what := "changed"
			if made {
				what = "made"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s group %s\n", what, describeUser(client.User{Name: g.Name, Role: g.Role, Projects: g.Projects}))
			return err
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.role, "role", "", "`ROLE` in the whole server: viewer, builder, maintainer, admin, or none")
	fs.StringArrayVar(&f.projects, "project", nil, "role in a project: `NAME=ROLE`, or NAME=none to take it away (repeatable)")
	fs.StringVar(&description, "description", "", "`TEXT`: who they are")
	r.register(fs)
	return cmd
}

func newGroupMember(add bool) *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "add GROUP USER...", Short: "Put users into a group", Args: cobra.MinimumNArgs(2),
		Example: "  sluice group add web-team ann bob",
	}
	done := "%s is in group %s\n"
	if !add {
		cmd.Use, cmd.Short, cmd.Example = "remove GROUP USER...", "Take users out of a group", "  sluice group remove web-team bob"
		done = "%s is not in group %s\n"
	}
	cmd.RunE = r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
		for _, user := range args[1:] {
			if err := c.SetMember(ctx, args[0], user, add); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), done, user, args[0]); err != nil {
				return err
			}
		}
		return nil
	})
	r.register(cmd.Flags())
	return cmd
}

func newGroupDelete() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a group", Args: cobra.ExactArgs(1),
		Long:    `Delete removes a group. The users in it stay, and lose what it gave them.`,
		Example: "  sluice group delete web-team",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			err := c.DeleteGroup(ctx, args[0])
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted group %s\n", args[0])
			}
			return err
		}),
	}
	r.register(cmd.Flags())
	return cmd
}
