package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/auth"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func newUserPassword() *cobra.Command {
	var r remote
	var file, currentFile string
	cmd := &cobra.Command{
		Use: "password [NAME]", Short: "Set a password: one's own, or any as an administrator", Args: cobra.MaximumNArgs(1),
		Long: `Password sets one's own password, which takes the current one where there is one,
or as an administrator that of another user. The user's sessions end, but for the
one that this command uses; tokens stay. 'sluice login' then takes the password.`,
		Example: `  sluice user password
  sluice user password ann
  sluice user password robot --password-file robot.password`,
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			me, err := c.Me(ctx)
			if err != nil {
				return err
			}
			name := me.Name
			if len(args) > 0 {
				name = args[0]
			}
			p, err := askPassword(name, name == me.Name, file, currentFile)
			if err != nil {
				return err
			}
			if err := c.SetPassword(ctx, name, p); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the password of %s is set; log in with 'sluice login'\n", name)
			return err
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&file, "password-file", "", "`FILE` with the new password, - = standard input (default: it is asked for)")
	fs.StringVar(&currentFile, "current-file", "", "`FILE` with the current password (default: it is asked for, unless --password-file is given)")
	r.register(fs)
	return cmd
}

// askPassword gets the new password, and for one's own the current one.
func askPassword(name string, own bool, file, currentFile string) (p client.NewPassword, err error) {
	if own && (currentFile != "" || file == "") {
		if p.Current, err = readPassword(currentFile, "Current password of "+name+" (empty = none yet): "); err != nil {
			return p, err
		}
	}
	if p.Password, err = readPassword(file, "New password of "+name+": "); err != nil || file != "" {
		return p, err
	}
	again, err := readPassword("", "Once more: ")
	if err == nil && again != p.Password {
		err = usagef("the two passwords differ")
	}
	return p, err
}

func newUserRecover() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "recover", Short: "Get back in when nobody can: make an administrator on the server's own machine", Args: cobra.NoArgs,
		Long: `Recover works on the data of a server, and so for those who may read these: it
makes the user an enabled administrator, makes a new token and writes it to
DATA/admin-token. With SQLite the server must be stopped meanwhile; with PostgreSQL
it may run. What there was of passwords, tokens and users stays. It is in the audit.
Run it as the user of the server, whose files these are.`,
		Example: `  systemctl stop sluice && sudo -u sluice sluice user recover --data /srv/sluice && systemctl start sluice
  sluice user recover --data /srv/sluice --user ann`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := readConfig(cmd.Flags(), os.LookupEnv)
			if err != nil {
				return err
			}
			cfg, err := serverConfigOf(all)
			if err != nil {
				return err
			}
			if _, err := os.Stat(cfg.data); err != nil {
				return usagef("--data: %w", err)
			}
			if !strings.Contains(cfg.database, "://") { // it would be made
				if _, err := os.Stat(strings.TrimPrefix(cfg.database, "sqlite:")); err != nil {
					return usagef("there is no server's data: %w; name its folder with --data", err)
				}
			}
			path, err := recoverAdmin(cmd.Context(), cfg, name)
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is an administrator; the token is in %s: 'SLUICE_TOKEN=$(cat %[2]s) sluice user password' sets a password\n", name, path)
			}
			return err
		},
	}
	configFlags(cmd.Flags(), os.LookupEnv)
	cmd.Flags().StringVar(&name, "user", auth.Admin, "`NAME` of the user; made if there is none")
	return cmd
}

// recoverAdmin makes an administrator with a token, and says where that is.
func recoverAdmin(ctx context.Context, cfg serverConfig, name string) (path string, err error) {
	if !app.ValidUserName(name) {
		return "", usagef("--user: %.100q cannot be the name of a user", name)
	}
	s := &server{cfg: cfg}
	db, err := store.OpenDB(ctx, cfg.database, store.Options{})
	if errors.Is(err, ci.ErrConflict) {
		return "", fmt.Errorf("%w; stop the server first", err)
	}
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	u, err := db.User(ctx, name)
	if err != nil && !errors.Is(err, ci.ErrNotFound) {
		return "", err
	}
	u.Name, u.Role, u.Disabled = name, ci.RoleAdmin, false
	by := ci.User{Name: name, From: ci.Origin{Address: "this machine"}}
	e := by.Entry("user.recover")
	e.Detail = fmt.Sprintf("user %q: role admin, with a new token", name)
	if _, err := db.PutUser(store.Noting(ctx, e), u); err != nil {
		return "", err
	}
	secret, _, err := auth.New(db, nil).Issue(ctx, ci.Token{User: name, Note: "made by sluice user recover"})
	if err != nil {
		return "", err
	}
	return s.path("admin-token"), writePrivate(s.path("admin-token"), secret+"\n")
}
