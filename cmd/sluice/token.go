package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Tokens, with which programs act for a user of a server",
		Long: `A token lets whoever has it act for its user: put it into SLUICE_TOKEN, or into a
file for --token-file. It may do what the user may, or less: --role and --project
narrow it. The server is the one that SLUICE_URL names.`,
		Example: `  sluice token create --note laptop --expires 720h
  sluice token list
  sluice token revoke 3ZC5YTZQ7XJ2VJ7BDIQNPMQLWE`,
	}
	cmd.AddCommand(newTokenCreate(), newTokenList(), newTokenRevoke())
	return cmd
}

// tokenFlags are those of token create.
type tokenFlags struct {
	user, note, role, expires string
	projects                  []string
}

func newTokenCreate() *cobra.Command {
	var r remote
	var f tokenFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "create", Short: "Make a token", Args: cobra.NoArgs,
		Long: `Create makes a token for oneself, or as an administrator for another user, and
prints it, alone. It is shown this once; the server keeps only its hash. A token
that is made with another one reaches no further than that, and lives no longer.`,
		Example: `  sluice token create --user ann --note laptop > ann.token
  sluice token create --note 'nightly job' --role builder --project app --expires 720h`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			n, err := f.token()
			if err != nil {
				return err
			}
			k, err := c.CreateToken(ctx, n)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, k)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), k.Secret)
			return err
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.user, "user", "", "`NAME` of the user (default: oneself); others are for administrators")
	fs.StringVar(&f.note, "note", "", "`TEXT`: what it is for")
	fs.StringVar(&f.role, "role", "", "no more than this `ROLE` may: viewer, builder, maintainer or admin")
	fs.StringArrayVar(&f.projects, "project", nil, "nothing outside the project `NAME` (repeatable)")
	fs.StringVar(&f.expires, "expires", "", "`WHEN` it ends: after a time such as 720h, or at 2026-12-31T23:59:59Z (default: never)")
	fs.BoolVar(&asJSON, "json", false, "print all of it as JSON")
	r.register(fs)
	return cmd
}

// token is what the flags come to. All that is wrong comes back at once.
func (f *tokenFlags) token() (client.NewToken, error) {
	var wrong []error
	n := client.NewToken{User: f.user, Note: f.note}
	if f.role != "" {
		if err := checkRole("role", f.role); err != nil || f.role == noRole {
			wrong = append(wrong, fmt.Errorf("--role %q: want viewer, builder, maintainer or admin", f.role))
		}
		n.Scopes = append(n.Scopes, "role:"+f.role)
	}
	for _, p := range f.projects {
		if err := ci.CheckProjectName(p); err != nil {
			wrong = append(wrong, fmt.Errorf("--project %q: %s", p, ci.Message(err)))
		}
		n.Scopes = append(n.Scopes, "project:"+p)
	}
	if f.expires != "" {
		if at, err := time.Parse(time.RFC3339, f.expires); err == nil {
			n.Expires = at
		} else if _, err := time.ParseDuration(f.expires); err == nil {
			n.Lifetime = f.expires
		} else {
			wrong = append(wrong, fmt.Errorf("--expires %q: want a time such as 720h, or 2026-12-31T23:59:59Z", f.expires))
		}
	}
	if len(wrong) > 0 {
		return n, &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return n, nil
}

func newTokenList() *cobra.Command {
	var r remote
	var user string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List tokens, without their secrets", Args: cobra.NoArgs,
		Long: `List shows one's own tokens; as an administrator those of another user, or with
--all those of all users. USED is exact to ten minutes.`,
		Example: "  sluice token list\n  sluice token list --user ann --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if all && user != "" {
				return usagef("--all and --user: want one of them")
			}
			if all {
				user = "*"
			}
			list, err := c.Tokens(ctx, user)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, list)
			}
			rows := [][]string{{"ID", "USER", "KIND", "NOTE", "SCOPES", "CREATED", "EXPIRES", "USED"}}
			for _, k := range list {
				kind := "token"
				if k.Session {
					kind = "session"
				}
				rows = append(rows, []string{
					k.ID, k.User, kind, orDash(k.Note), orDash(strings.Join(k.Scopes, " ")), age(k.Created), ends(k.Expires), orDash(age(k.LastUsed)),
				})
			}
			return table(cmd.OutOrStdout(), rows)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&user, "user", "", "`NAME` of the user (default: oneself); others are for administrators")
	fs.BoolVar(&all, "all", false, "those of all users; for administrators")
	fs.BoolVar(&asJSON, "json", false, "print them as JSON")
	r.register(fs)
	return cmd
}

// ends is when something ends, or that it has.
func ends(t time.Time) string {
	switch {
	case t.IsZero():
		return "never"
	case t.Before(time.Now()):
		return "has ended"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func newTokenRevoke() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "End a token, at once", Args: cobra.ExactArgs(1),
		Long: `Revoke ends one of one's own tokens, or as an administrator anybody's. The ID is
the one that 'sluice token list' shows, not the token itself.`,
		Example: "  sluice token revoke 3ZC5YTZQ7XJ2VJ7BDIQNPMQLWE",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if strings.HasPrefix(args[0], "slu_") {
				return usagef("that is the token itself, which has now been seen by all who can list processes: revoke it by the ID that 'sluice token list' shows")
			}
			err := c.RevokeToken(ctx, args[0])
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked token %s\n", args[0])
			}
			return err
		}),
	}
	r.register(cmd.Flags())
	return cmd
}

func newWhoami() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show whose token this is, and what it may do", Args: cobra.NoArgs,
		Example: "  sluice whoami\n  sluice whoami --json",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			me, err := c.Me(ctx)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, me)
			}
			text := describeUser(me.User)
			if len(me.Scopes) > 0 {
				text += "; the token: " + strings.Join(me.Scopes, " ")
			}
			if !me.Expires.IsZero() {
				text += "; it ends " + me.Expires.Local().Format("2006-01-02 15:04")
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), printable(text))
			return err
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	r.register(cmd.Flags())
	return cmd
}
