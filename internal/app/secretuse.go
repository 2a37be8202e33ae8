package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
	"github.com/sluice-ci/sluice/internal/store"
)

// SecretsOf is where the secrets of a build are looked up: those of its project,
// the global ones that the project may use, and the further sources that it was
// granted, in that order. An untrusted build gets none. Each use is recorded and
// in the audit before the value is given, once for each build and secret; what a
// build was given stays the same for as long as it runs.
func (a *App) SecretsOf(b ci.Build) ci.SecretSource { return &secretsOf{a, b} }

type secretsOf struct {
	a *App
	b ci.Build
}

// Lookup is ci.SecretSource's. ErrDenied: the build may not use the secret.
func (s *secretsOf) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	if s.b.Untrusted {
		return "", fmt.Errorf("secret %q: build %s/%d is of what strangers wrote (a pull request from a fork), and such builds get no secrets: have a maintainer build the change from a branch of the project: %w",
			ref, s.b.Project, s.b.Number, ci.ErrDenied)
	}
	var p ci.Project
	err := insist(ctx, func() (err error) {
		p, err = s.a.cfg.Store.Project(ctx, s.b.Project)
		return err
	})
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(ref, secret.VaultPrefix) {
		return s.fromVault(ctx, p, kind, ref)
	}
	value, err := s.own(ctx, kind, ref)
	if !errors.Is(err, ci.ErrNotFound) {
		return value, err
	}
	var silent error
	for _, name := range []string{ci.SourceServer, ci.SourceAWS} {
		if !slices.Contains(p.Secrets, name) || s.a.cfg.Further[name] == nil {
			continue
		}
		value, err := s.further(ctx, name, kind, ref)
		switch {
		case err == nil || !errors.Is(err, ci.ErrNotFound) && !errors.Is(err, ci.ErrUnavailable):
			return value, err
		case errors.Is(err, ci.ErrUnavailable):
			silent = err
		}
	}
	if silent != nil {
		return "", fmt.Errorf("secret %q is none of project %q, and elsewhere could not be asked: %w", ref, p.Name, silent)
	}
	return "", fmt.Errorf("secret %q: project %q has none of that name, and no global one of it is for the project%s; keep it with 'sluice secret set --project %s': %w",
		ref, p.Name, sourcesText(p.Secrets), p.Name, ci.ErrNotFound)
}

func sourcesText(granted []string) string {
	if len(granted) == 0 {
		return "; other sources it may not use, unless an administrator grants them (sluice secret sources)"
	}
	return ", and neither has " + strings.Join(granted, " or ")
}

// own looks among the secrets that the server keeps.
func (s *secretsOf) own(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	if s.a.cfg.Secrets == nil {
		return "", fmt.Errorf("secret %q: %w", ref, ci.ErrNotFound)
	}
	found := false
	value, err := secret.Resolve(kind, ref, func(name string, w secret.Wanted) (string, error) {
		for _, project := range []string{s.b.Project, ""} {
			var sec ci.Secret
			err := insist(ctx, func() (err error) {
				sec, err = s.a.cfg.Store.Secret(ctx, project, name)
				return err
			})
			if errors.Is(err, ci.ErrNotFound) || err == nil && !sec.ForProject(s.b.Project) {
				continue
			}
			if err != nil {
				return "", err
			}
			value, err := s.give(ctx, sec, w)
			found = err == nil
			return value, err
		}
		return "", ci.ErrNotFound
	})
	if found && errors.Is(err, ci.ErrNotFound) { // it lacks the JSON key: no other source is meant
		err = fmt.Errorf("%s: %w", ci.Message(err), ci.ErrInvalid)
	}
	return value, err
}

// give opens the wanted version of a secret, or the one that the build was given
// by that name before.
func (s *secretsOf) give(ctx context.Context, sec ci.Secret, w secret.Wanted) (string, error) {
	use := ci.SecretUse{Source: "project", Ref: sec.Name, Secret: sec.ID, Version: sec.Version - w.Back}
	if sec.Project == "" {
		use.Source = "global"
	}
	switch {
	case w.Number > 0:
		use.Version, use.Ref = w.Number, fmt.Sprintf("%s:%d", sec.Name, w.Number)
	case w.Back > 0:
		use.Ref = fmt.Sprintf("%s:-%d", sec.Name, w.Back)
	}
	if _, err := s.version(ctx, use); err != nil {
		return "", err // nothing is recorded of what there is not
	}
	recorded, err := s.record(ctx, use)
	if err != nil {
		return "", err
	}
	v, err := s.version(ctx, recorded)
	if errors.Is(err, ci.ErrNotFound) || recorded.Secret != sec.ID {
		return "", fmt.Errorf("secret %q: version %d, with which the build began, was deleted meanwhile; start the build again: %w", sec.Name, recorded.Version, ci.ErrConflict)
	}
	if err != nil {
		return "", err
	}
	return s.a.cfg.Secrets.Open(ctx, v)
}

func (s *secretsOf) version(ctx context.Context, u ci.SecretUse) (v ci.SecretVersion, err error) {
	err = insist(ctx, func() (err error) {
		v, err = s.a.cfg.Store.SecretVersion(ctx, u.Secret, u.Version)
		return err
	})
	return v, err
}

// record writes the use down, with its entry in the audit, unless it was before.
func (s *secretsOf) record(ctx context.Context, u ci.SecretUse) (recorded ci.SecretUse, err error) {
	u.Build, u.Time = s.b.ID, s.a.cfg.Now()
	e := ci.AuditEntry{Time: u.Time, User: s.b.Initiator, Verb: string(useSecret), Project: s.b.Project, Build: s.b.ID}
	e.Detail = fmt.Sprintf("build %d, %s secret %s", s.b.Number, u.Source, u.Ref)
	if u.Version > 0 {
		e.Detail += fmt.Sprintf(", version %d", u.Version)
	}
	err = insist(ctx, func() error {
		noting := ctx
		if s.a.cfg.Audit == nil {
			noting = store.Noting(ctx, e)
		}
		var made bool
		if recorded, made, err = s.a.cfg.Store.UseSecret(noting, u); err != nil || !made || store.Noted(noting) {
			return err
		}
		return s.a.note(ctx, e)
	})
	return recorded, err
}

// further asks a source that is not the server's own.
func (s *secretsOf) further(ctx context.Context, name string, kind ci.VariableKind, ref string) (string, error) {
	value, err := s.a.cfg.Further[name].Lookup(ctx, kind, ref)
	if err != nil {
		return "", err
	}
	_, err = s.record(ctx, ci.SecretUse{Source: name, Ref: strings.ToLower(string(kind)) + " " + ref})
	if err != nil {
		return "", err
	}
	return value, nil
}

func (s *secretsOf) fromVault(ctx context.Context, p ci.Project, kind ci.VariableKind, ref string) (string, error) {
	switch {
	case !slices.Contains(p.Secrets, ci.SourceVault):
		return "", fmt.Errorf("secret %q: project %q may not use Vault: an administrator grants it (sluice secret sources --project %s vault): %w", ref, p.Name, p.Name, ci.ErrDenied)
	case s.a.cfg.Further[ci.SourceVault] == nil:
		return "", fmt.Errorf("secret %q: this server knows no Vault: an operator names it with --vault: %w", ref, ci.ErrUnavailable)
	}
	return s.further(ctx, ci.SourceVault, kind, ref)
}

// insist asks the store again while it is away: a build that runs is not broken
// off for that. It ends with the build.
func insist(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, ci.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
