package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
)

func newSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Secrets, sealed: of a project, of a whole server, or on this machine",
		Long: `Builds look secrets up by name: a parameter of env.parameter-store, a secret of
env.secrets-manager. Values are sealed where they are kept and masked in the output
of builds; no command shows them.

With --project NAME or --global these commands are about the secrets of the server
that SLUICE_URL names. Without, they are about those kept on this machine, which
'sluice run' looks up before it asks AWS.`,
		Example: `  sluice secret set /app/token --project app < token.txt
  sluice secret set /npm/token --global --to app --to site < token.txt
  sluice secret list --project app
  sluice secret set /app/token < token.txt`,
	}
	cmd.AddCommand(newSecretSet(), newSecretList(), newSecretShow(), newSecretVersions(), newSecretDelete(), newSecretPrune(),
		newSecretGrant(), newSecretSources(), newSecretRotateKey())
	return cmd
}

// keeper says which secrets a command is about: those of a project, the global
// ones of a server, or, where the command can do that, those on this machine.
type keeper struct {
	remote
	project string
	global  bool
}

func (k *keeper) register(fs *pflag.FlagSet) {
	fs.StringVarP(&k.project, "project", "p", "", "secrets of the project `NAME` of the server")
	fs.BoolVar(&k.global, "global", false, "secrets of the server that are no project's; for administrators")
	k.remote.register(fs)
}

func (k *keeper) check(here bool) error {
	switch {
	case k.project != "" && k.global:
		return usagef("--project and --global: want one of them")
	case k.project == "" && !k.global && !here:
		return usagef("whose secret? say --project NAME, or --global")
	case k.project == "" && !k.global && (k.server != "" || k.tokenFile != ""):
		return usagef("--server and --token-file are about a server: say also --project NAME, or --global")
	}
	return nil
}

// do runs the command on the server or, where here is given, on this machine.
func (k *keeper) do(server func(context.Context, *client.Client, *cobra.Command, []string) error, here func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := k.check(here != nil); err != nil {
			return err
		}
		if k.project == "" && !k.global {
			return here(cmd, args)
		}
		return k.talk(server)(cmd, args)
	}
}

// where says in words which secrets are meant.
func (k *keeper) where() string {
	if k.global {
		return "global secret"
	}
	return "secret of project " + k.project
}

func newSecretSet() *cobra.Command {
	var k keeper
	var file, description string
	var to []string
	value := func(name string) (string, error) {
		v, err := askSecret(name, file)
		if err == nil && v == "" {
			err = usagef("the value of %s is empty", name)
		}
		return v, err
	}
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Keep a secret; its value comes from standard input, a file, or is asked for",
		Long: `Set keeps a value under a name. On a server each set makes a new version, and the
older ones stay: a definition can name one (/app/token:2), and 'secret prune' removes
them. The value is never an argument, which other users of the machine could read.`,
		Example: `  sluice secret set /app/token --project app --from-file token.txt
  sluice secret set /npm/token --global --to app < token.txt
  printf %s "$TOKEN" | sluice secret set /app/token`,
		Args: cobra.ExactArgs(1),
		RunE: k.do(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if len(to) > 0 && !k.global {
				return usagef("--to is for --global: a project's secret is for its own builds")
			}
			v, err := value(args[0])
			if err != nil {
				return err
			}
			s, err := c.SetSecret(ctx, k.project, client.NewSecret{Name: args[0], Value: v, Description: description})
			if err == nil && len(to) > 0 {
				s, err = c.GrantSecret(ctx, s.Name, to)
			}
			if err != nil {
				return err
			}
			text := fmt.Sprintf("kept %s %s, version %d", k.where(), s.Name, s.Version)
			if k.global && len(s.Projects) == 0 {
				text += fmt.Sprintf("; no project may use it yet: sluice secret grant %s --to PROJECT", s.Name)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), printable(text))
			return err
		}, func(_ *cobra.Command, args []string) error {
			if len(to) > 0 || description != "" {
				return usagef("--to and --description are for the secrets of a server: say also --project NAME, or --global")
			}
			store, err := localSecrets(os.LookupEnv)
			if err != nil {
				return err
			}
			v, err := value(args[0])
			if err != nil {
				return err
			}
			return store.Set(args[0], v)
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&file, "from-file", "", "`FILE` with the value; one newline at its end is not part of it")
	fs.StringVar(&description, "description", "", "`TEXT`: what it is")
	fs.StringArrayVar(&to, "to", nil, "let the project `NAME` use the global secret, in place of those before; * for all (repeatable)")
	k.register(fs)
	return cmd
}

// askSecret takes a value from the file, from the keyboard, or from standard input.
func askSecret(name, file string) (string, error) {
	if file != "" {
		value, err := readSecretFile(file)
		if err != nil {
			return "", usagef("--from-file: %w", err)
		}
		return value, nil
	}
	env, err := surroundings()
	if err != nil {
		return "", err
	}
	if env.ask != nil {
		return env.ask("Value of " + name + ": ")
	}
	return readSecretFile("-")
}

func newSecretList() *cobra.Command {
	var k keeper
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the names of the secrets", Args: cobra.NoArgs,
		Long: `List shows what there is, without the values: with --project what builds of the
project may use, its own and global ones.`,
		Example: "  sluice secret list --project app\n  sluice secret list --json",
		RunE: k.do(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			list, err := c.Secrets(ctx, k.project)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, list)
			}
			rows := [][]string{{"NAME", "OF", "VERSION", "CHANGED", "DESCRIPTION"}}
			if k.global {
				rows[0][1] = "FOR"
			}
			for _, s := range list {
				of := s.Project
				if of == "" {
					of = "all (global)"
				}
				if k.global {
					of = orDash(strings.Join(s.Projects, " "))
				}
				rows = append(rows, []string{s.Name, of, fmt.Sprint(s.Version), age(s.Updated), orDash(s.Description)})
			}
			return table(cmd.OutOrStdout(), rows)
		}, func(cmd *cobra.Command, _ []string) error { return listHere(cmd, asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	k.register(cmd.Flags())
	return cmd
}

func listHere(cmd *cobra.Command, asJSON bool) error {
	store, err := localSecrets(os.LookupEnv)
	if err != nil {
		return err
	}
	entries, err := store.List()
	if err != nil {
		return err
	}
	if asJSON {
		if entries == nil {
			entries = []secret.Entry{}
		}
		return writeJSON(cmd, entries)
	}
	for _, e := range entries {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\n", e.Name, e.Updated.Local().Format("2006-01-02 15:04")); err != nil {
			return err
		}
	}
	return nil
}

func newSecretShow() *cobra.Command {
	var k keeper
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show what is known of a secret of a server: never its value", Args: cobra.ExactArgs(1),
		Example: "  sluice secret show /app/token --project app",
		RunE: k.do(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			s, err := c.Secret(ctx, k.project, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, s)
			}
			rows := [][]string{{"name", s.Name}, {"of", k.where()}, {"description", orDash(s.Description)}, {"version", fmt.Sprint(s.Version)},
				{"changed", age(s.Updated)}, {"made", age(s.Created)}}
			if k.global {
				rows = append(rows, []string{"for", orDash(strings.Join(s.Projects, " "))})
			}
			use := "never, by builds that there are"
			if s.LastUse != nil {
				use = fmt.Sprintf("version %d, by build %s at %s", s.LastUse.Version, s.LastUse.Build, s.LastUse.Time)
			}
			return table(cmd.OutOrStdout(), append(rows, []string{"used", use}))
		}, nil),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	k.register(cmd.Flags())
	return cmd
}

func newSecretVersions() *cobra.Command {
	var k keeper
	var asJSON bool
	cmd := &cobra.Command{
		Use: "versions NAME", Short: "List the versions of a secret of a server", Args: cobra.ExactArgs(1),
		Long: `Versions lists those that are kept, the newest first. A definition gets the newest,
unless it names another: /app/token:2 as a parameter, app/token:::2 as a managed secret.`,
		Example: "  sluice secret versions /app/token --project app",
		RunE: k.do(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			s, err := c.Secret(ctx, k.project, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, s.Versions)
			}
			rows := [][]string{{"VERSION", "BY", "SET", "MASTER KEY"}}
			for _, v := range s.Versions {
				rows = append(rows, []string{fmt.Sprint(v.Number), v.By, age(v.Created), v.Key})
			}
			return table(cmd.OutOrStdout(), rows)
		}, nil),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	k.register(cmd.Flags())
	return cmd
}

func newSecretDelete() *cobra.Command {
	var k keeper
	cmd := &cobra.Command{
		Use: "delete NAME...", Aliases: []string{"rm"}, Short: "Delete secrets, with all their versions", Args: cobra.MinimumNArgs(1),
		Example: "  sluice secret delete /app/token --project app\n  sluice secret rm /app/token",
		RunE: k.do(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := c.DeleteSecret(ctx, k.project, name); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "deleted %s %s\n", k.where(), printable(name)); err != nil {
					return err
				}
			}
			return nil
		}, func(_ *cobra.Command, args []string) error {
			store, err := localSecrets(os.LookupEnv)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := store.Delete(name); err != nil {
					return &exitError{code: exitUsage, err: err}
				}
			}
			return nil
		}),
	}
	k.register(cmd.Flags())
	return cmd
}

func newSecretPrune() *cobra.Command {
	var k keeper
	var keep int64
	cmd := &cobra.Command{
		Use: "prune NAME", Short: "Remove old versions of a secret of a server", Args: cobra.ExactArgs(1),
		Long: `Prune removes all versions but the newest ones. A build that runs with a version
that is removed goes on, but not over a restart of the server.`,
		Example: "  sluice secret prune /app/token --project app --keep 2",
		RunE: k.do(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			n, err := c.PruneSecret(ctx, k.project, args[0], keep)
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %d versions of %s %s\n", n, k.where(), printable(args[0]))
			}
			return err
		}, nil),
	}
	cmd.Flags().Int64Var(&keep, "keep", 1, "how `MANY` of the newest versions stay")
	k.register(cmd.Flags())
	return cmd
}

func newSecretGrant() *cobra.Command {
	var r remote
	var to []string
	var none bool
	cmd := &cobra.Command{
		Use: "grant NAME --to PROJECT", Short: "Say which projects may use a global secret; for administrators", Args: cobra.ExactArgs(1),
		Long:    `Grant replaces what was granted before. --to '*' lets all projects use the secret.`,
		Example: "  sluice secret grant /npm/token --to app --to site\n  sluice secret grant /npm/token --to-none",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if none == (len(to) > 0) {
				return usagef("want --to PROJECT, or --to-none")
			}
			s, err := c.GrantSecret(ctx, args[0], to)
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), printable(fmt.Sprintf("global secret %s is for %s", s.Name, orNone(s.Projects))))
			}
			return err
		}),
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&to, "to", nil, "let the project `NAME` use it; * for all (repeatable)")
	fs.BoolVar(&none, "to-none", false, "let no project use it")
	r.register(fs)
	return cmd
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no project"
	}
	return strings.Join(names, ", ")
}

func newSecretSources() *cobra.Command {
	var r remote
	var project string
	var none bool
	cmd := &cobra.Command{
		Use: "sources --project NAME [SOURCE...]", Short: "Show or say which further sources of secrets a project may use",
		Long: `A project uses its own secrets and the global ones that it was granted. Beside
these a server can look in further sources, with rights of its own: "server" is what
the user who runs it keeps with 'sluice secret set', "aws" is Parameter Store and
Secrets Manager, "vault" is HashiCorp Vault. Only administrators let a project use
them, because a project then gets all that the server gets there.`,
		Example: "  sluice secret sources --project app\n  sluice secret sources --project app aws vault\n  sluice secret sources --project app --none",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			if project == "" {
				return usagef("--project is missing: want the name of a project")
			}
			p, err := c.Project(ctx, project)
			if err != nil {
				return err
			}
			if len(args) > 0 || none {
				if none && len(args) > 0 {
					return usagef("--none, and %s: want one of them", strings.Join(args, " "))
				}
				var wrong []error
				for _, a := range args {
					if !slices.Contains(ci.SecretSources(), a) {
						wrong = append(wrong, fmt.Errorf("there is no source %q%s: want %s", a, didYouMean(a, ci.SecretSources(), ""), strings.Join(ci.SecretSources(), ", ")))
					}
				}
				if err := errors.Join(wrong...); err != nil {
					return &exitError{code: exitUsage, err: err}
				}
				p.Secrets = args
				if p, err = c.UpdateProject(ctx, p); err != nil {
					return err
				}
			}
			text := "its own and granted global secrets alone"
			if len(p.Secrets) > 0 {
				text = "also " + strings.Join(p.Secrets, ", ")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "builds of project %s use %s\n", p.Name, printable(text))
			return err
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&project, "project", "p", "", "the project's `NAME`")
	fs.BoolVar(&none, "none", false, "none of them")
	r.register(fs)
	return cmd
}

func newSecretRotateKey() *cobra.Command {
	var r remote
	var forget, asJSON bool
	cmd := &cobra.Command{
		Use: "rotate-key", Short: "Seal all secrets of a server under a new master key; for administrators", Args: cobra.NoArgs,
		Long: `Rotate-key makes a new master key and seals every secret under it. Where the key is
not in a file of the server (the setting master-key), put the new one in front of the
old there first. Killed in the middle, every secret can be read, and the next start
goes on. The old key stays, for backups made before, unless --forget says otherwise.`,
		Example: "  sluice secret rotate-key\n  sluice secret rotate-key --forget",
		RunE: r.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
			done, err := c.RotateMasterKey(ctx, forget)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, done)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "sealed %d values under master key %s; keys kept: %d\n", done.Resealed, done.Key, len(done.Keys))
			return err
		}),
	}
	fs := cmd.Flags()
	fs.BoolVar(&forget, "forget", false, "drop the old keys; backups made before can then not be read")
	fs.BoolVar(&asJSON, "json", false, "print it as JSON")
	r.register(fs)
	return cmd
}
