package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
)

// secretHome is the folder of the secrets kept on this machine. It is apart from
// the caches, which people delete.
func secretHome(lookup func(string) (string, bool)) (string, error) {
	if dir, ok := lookup("SLUICE_HOME"); ok && dir != "" {
		return filepath.Join(dir, "secrets"), nil
	}
	if dir, ok := lookup("XDG_CONFIG_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "sluice", "secrets"), nil
	}
	if dir, ok := lookup("HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, ".config", "sluice", "secrets"), nil
	}
	return "", usagef("there is no folder to keep secrets in: set SLUICE_HOME, or HOME")
}

// localSecrets opens the store of this machine.
func localSecrets(lookup func(string) (string, bool)) (*secret.Store, error) {
	dir, err := secretHome(lookup)
	if err != nil {
		return nil, err
	}
	return secret.OpenStore(dir)
}

// stored is the store of this machine, opened when it is first asked.
type stored struct {
	open func() (*secret.Store, error)
}

// Lookup is ci.SecretSource's.
func (s stored) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	store, err := s.open()
	if err != nil {
		return "", err
	}
	return store.Lookup(ctx, kind, ref)
}

// secretChain is where secrets are looked up that the command line did not give:
// on this machine, then in AWS where there are credentials.
func secretChain(values map[string]string, env environment) ci.SecretSource {
	local := stored{open: sync.OnceValues(func() (*secret.Store, error) { return localSecrets(env.lookup) })}
	return secret.Chain(secret.Given(values), local, &secret.AWS{})
}

func newSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Keep secrets on this machine, sealed",
		Long: `Secret keeps values that builds look up by name: a parameter of
env.parameter-store and a secret of env.secrets-manager are looked for here before
AWS is asked. Values are sealed on the disk and masked in the output of builds.`,
		Example: `  sluice secret set /app/token < token.txt
  sluice secret list`,
	}
	cmd.AddCommand(newSecretSet(), newSecretList(), newSecretRemove())
	return cmd
}

func newSecretSet() *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME",
		Short: "Keep a secret; its value comes from standard input or is asked for",
		Example: `  sluice secret set /app/token
  printf %s "$TOKEN" | sluice secret set /app/token`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			env, err := surroundings()
			if err != nil {
				return err
			}
			store, err := localSecrets(env.lookup)
			if err != nil {
				return err
			}
			var value string
			if env.ask != nil {
				value, err = env.ask("Value of " + args[0] + ": ")
			} else {
				value, err = readSecretFile("-")
			}
			if err != nil {
				return err
			}
			if value == "" {
				return usagef("the value of %s is empty", args[0])
			}
			return store.Set(args[0], value)
		},
	}
}

func newSecretList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the names of the secrets", Args: cobra.NoArgs,
		Example: "  sluice secret list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
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
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func newSecretRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Forget secrets", Args: cobra.MinimumNArgs(1),
		Example: "  sluice secret rm /app/token",
		RunE: func(_ *cobra.Command, args []string) error {
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
		},
	}
}
