package main

import (
	"context"
	"path/filepath"
	"sync"

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

// furtherSecrets are the sources of secrets that a server has beside its own, for
// the projects that were granted them.
func furtherSecrets(env environment, c secret.VaultConfig) (map[string]ci.SecretSource, error) {
	local := stored{open: sync.OnceValues(func() (*secret.Store, error) { return localSecrets(env.lookup) })}
	all := map[string]ci.SecretSource{ci.SourceServer: local, ci.SourceAWS: &secret.AWS{}}
	if c.Address == "" {
		return all, nil
	}
	if c.TokenFile == "" && c.RoleID == "" {
		c.Token, _ = env.lookup("VAULT_TOKEN") // never a setting, which may stand on a command line
	}
	vault, err := secret.NewVault(c)
	all[ci.SourceVault] = vault
	return all, err
}
