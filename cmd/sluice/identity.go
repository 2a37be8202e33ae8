package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func newIdentity() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity",
		Short: "What builds may do as themselves: on the server, and in clouds that trust it",
		Long: `A build of a project that allows it has a token of its own for the server, which ends
with the build, and can have signed tokens that say which build it is: with one it
takes a role in a cloud, and no key is stored anywhere.`,
		Example: `  sluice identity allow --project app --role viewer
  aws_token=$(sluice identity token --audience sts.amazonaws.com)   # in a build`,
	}
	cmd.AddCommand(newIdentityAllow(), newIdentityToken(), newIdentityRotate())
	return cmd
}

func newIdentityAllow() *cobra.Command {
	var r remote
	var project, role string
	cmd := &cobra.Command{
		Use: "allow --project NAME [--role ROLE]", Short: "Show or say what builds of a project may do as themselves", Args: cobra.NoArgs,
		Long: `Allow gives the builds of a project a token of their own, in SLUICE_TOKEN: as viewer
they may look at the project, as builder also start builds of it; with none they have no
token, as at first. A build with a token can also have signed ones.`,
		Example: "  sluice identity allow --project app --role viewer\n  sluice identity allow --project app",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if project == "" {
				return usagef("--project is missing: want the name of a project")
			}
			if err := oneOf("role", role, "", noRole, string(ci.RoleViewer), string(ci.RoleBuilder)); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			p, err := c.Project(ctx, project)
			if err != nil {
				return err
			}
			if role != "" {
				p.BuildRole = strings.TrimSuffix(role, noRole)
				if p, err = c.UpdateProject(ctx, p); err != nil {
					return err
				}
			}
			text := "have no token of their own"
			if p.BuildRole != "" {
				text = "have a token of their own, as " + p.BuildRole
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "builds of project %s %s\n", p.Name, printable(text))
			return err
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&project, "project", "p", "", "the project's `NAME`")
	fs.StringVar(&role, "role", "", "the `ROLE` of its builds in it: viewer, builder or none")
	r.register(fs)
	return cmd
}

func newIdentityToken() *cobra.Command {
	var r remote
	var n client.NewIDToken
	var asJSON bool
	cmd := &cobra.Command{
		Use: "token --audience WHO", Short: "In a build: print a signed token that says which build this is", Args: cobra.NoArgs,
		Long: `Token asks the server for an OpenID Connect token of the build that SLUICE_BUILD names,
with its SLUICE_TOKEN. It is good for ten minutes. Where there is no sluice in the
build, ask with curl at SLUICE_ID_TOKEN_REQUEST_URL.`,
		Example: "  sluice identity token --audience sts.amazonaws.com > \"$AWS_WEB_IDENTITY_TOKEN_FILE\"",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			if n.Audience == "" {
				return usagef("--audience is missing: want who the token is for, such as sts.amazonaws.com")
			}
			project, text, _ := strings.Cut(os.Getenv("SLUICE_BUILD"), "/")
			number, err := strconv.ParseInt(text, 10, 64)
			if err != nil || number < 1 {
				return usagef("SLUICE_BUILD does not say which build this is: this command is for builds of a project whose builds have a token (sluice identity allow)")
			}
			t, err := c.IDToken(ctx, project, number, n)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, t)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Token)
			return err
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&n.Audience, "audience", "", "`WHO` the token is for")
	fs.StringVar(&n.Algorithm, "algorithm", "", "to sign with: RS256 or ES256 (default RS256)")
	fs.BoolVar(&asJSON, "json", false, "print it as JSON, with when it ends")
	r.register(fs)
	return cmd
}

func newIdentityRotate() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "rotate-keys", Short: "Make new keys that builds' tokens are signed with; for administrators", Args: cobra.NoArgs,
		Long: `Rotate-keys makes new signing keys at once; by itself the server does so every 90 days.
The keys before the new ones stay published, so that what they signed stays good.`,
		Example: "  sluice identity rotate-keys",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			err := c.RotateIdentityKeys(ctx)
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "made new signing keys")
			}
			return err
		}),
	}
	r.register(cmd.Flags())
	return cmd
}
