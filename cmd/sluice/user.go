package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func newUser() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "The users of a server; for its administrators",
		Long: `A user is somebody who has access to a server, with a role: viewers look at
builds, builders start and stop them, maintainers change projects, administrators
may do everything. A role in a project is in place of that of the whole server.
The server is that of 'sluice login', or the one that SLUICE_URL names.`,
		Example: `  sluice user set ann --role viewer --project app=builder
  sluice token create --user ann
  sluice user list`,
	}
	cmd.AddCommand(newUserList(), newUserShow(), newUserSet(), newUserDelete(), newUserPassword(), newUserRecover())
	return cmd
}

func newUserList() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the users", Args: cobra.NoArgs,
		Example: "  sluice user list\n  sluice user list --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			all, err := c.Users(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			rows := [][]string{{"NAME", "ROLE", "PROJECTS", "GROUPS", "STATE", "FULL NAME", "MAIL", "+CREATED"}}
			for _, u := range all {
				state := "enabled"
				if u.Disabled {
					state = "disabled"
				}
				rows = append(rows, []string{u.Name, orDash(u.Role), orDash(rolesIn(u)), orDash(strings.Join(u.Groups, " ")), state, orDash(u.Full), orDash(u.Mail), age(u.Created)})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(cmd.Flags())
	return cmd
}

// rolesIn lists the roles in projects as --project takes them.
func rolesIn(u client.User) string {
	var list []string
	for _, p := range slices.Sorted(maps.Keys(u.Projects)) {
		list = append(list, p+"="+u.Projects[p])
	}
	return strings.Join(list, " ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newUserShow() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a user as JSON", Args: cobra.ExactArgs(1),
		Example: "  sluice user show ann",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			u, err := c.User(ctx, args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd, u)
		}),
	}
	r.register(cmd.Flags())
	return cmd
}

// userFlags are those of user set.
type userFlags struct {
	role, full, mail string
	projects         []string
	disable, enable  bool
}

func newUserSet() *cobra.Command {
	var r remote
	var f userFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Make a user, or change one", Args: cobra.ExactArgs(1),
		Long: `Set makes the user if there is none of that name. Of one who is there it changes
what the flags name, and leaves the rest. A change of rights and --disable hold
from the next request on.`,
		Example: `  sluice user set ann --role viewer --project app=builder --full-name 'Ann Lee' --mail ann@example.com
  sluice user set ann --project app=none --project web=maintainer
  sluice user set ann --disable`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			u, err := c.User(ctx, args[0])
			made := client.IsNotFound(err)
			if err != nil && !made {
				return err
			}
			if made {
				u = client.User{Name: args[0]}
			}
			f.change(&u, cmd.Flags().Changed)
			if u, err = c.PutUser(ctx, u); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, u)
			}
			text := "changed user " + describeUser(u)
			if made {
				text = fmt.Sprintf("made user %s; make a token with 'sluice token create --user %s'", describeUser(u), u.Name)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.role, "role", "", "`ROLE` in the whole server: viewer, builder, maintainer, admin, or none")
	fs.StringArrayVar(&f.projects, "project", nil, "role in a project: `NAME=ROLE`, or NAME=none to take it away (repeatable)")
	fs.StringVar(&f.full, "full-name", "", "`NAME` to show")
	fs.StringVar(&f.mail, "mail", "", "`ADDRESS` of mail")
	fs.BoolVar(&f.disable, "disable", false, "no token of the user is good until --enable")
	fs.BoolVar(&f.enable, "enable", false, "take back --disable")
	fs.BoolVar(&asJSON, "json", false, "print the user as JSON")
	r.register(fs)
	return cmd
}

// noRole is how a flag says that there is to be none.
const noRole = "none"

// check says all that is wrong with the flags.
func (f *userFlags) check() error {
	var wrong []error
	if f.disable && f.enable {
		wrong = append(wrong, errors.New("--disable and --enable: want one of them"))
	}
	if err := checkRole("role", f.role); f.role != "" && err != nil {
		wrong = append(wrong, err)
	}
	for _, text := range f.projects {
		name, role, ok := strings.Cut(text, "=")
		if !ok {
			wrong = append(wrong, fmt.Errorf("--project %q: want NAME=ROLE, such as app=builder", text))
			continue
		}
		if err := ci.CheckProjectName(name); err != nil {
			wrong = append(wrong, fmt.Errorf("--project %q: %s", text, ci.Message(err)))
		}
		if err := checkRole("project "+name, role); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return nil
}

func checkRole(flag, role string) error {
	var names []string
	for _, r := range ci.Roles() {
		names = append(names, string(r))
	}
	return oneOf(flag, role, append(names, noRole)...)
}

// change puts what the flags name into a user.
func (f *userFlags) change(u *client.User, named func(flag string) bool) {
	if named("role") {
		u.Role = strings.TrimSuffix(f.role, noRole)
	}
	if named("full-name") {
		u.Full = f.full
	}
	if named("mail") {
		u.Mail = f.mail
	}
	for _, text := range f.projects {
		name, role, _ := strings.Cut(text, "=")
		if role == noRole {
			delete(u.Projects, name)
			continue
		}
		if u.Projects == nil {
			u.Projects = map[string]string{}
		}
		u.Projects[name] = role
	}
	if f.disable || f.enable {
		u.Disabled = f.disable
	}
}

// describeUser is a user in a line: "ann: viewer, app=builder".
func describeUser(u client.User) string {
	what := []string{u.Role}
	if u.Role == "" {
		what[0] = "no role in the whole server"
	}
	if in := rolesIn(u); in != "" {
		what = append(what, in)
	}
	if len(u.Groups) > 0 {
		what = append(what, "in "+strings.Join(u.Groups, " "))
	}
	if u.Disabled {
		what = append(what, "disabled")
	}
	return u.Name + ": " + strings.Join(what, ", ")
}

func newUserDelete() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a user and end the user's tokens", Args: cobra.ExactArgs(1),
		Long: `Delete removes a user with all tokens. Builds that the user started go on, and
keep the name. The last administrator who is enabled cannot be deleted.`,
		Example: "  sluice user delete ann",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			err := c.DeleteUser(ctx, args[0])
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted user %s\n", args[0])
			}
			return err
		}),
	}
	r.register(cmd.Flags())
	return cmd
}
