package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Secrets seals values and opens them: secret.Safe.
type Secrets interface {
	// Add seals a value as the next version of a secret, which is made if missing.
	Add(ctx context.Context, project, name, description, value, by string) (ci.Secret, error)
	Open(ctx context.Context, v ci.SecretVersion) (string, error)
	Rotate(ctx context.Context, forget bool) (ci.KeyRotation, error)
}

// SecretInfo is a secret with its versions, the newest first.
type SecretInfo struct {
	ci.Secret
	Versions []ci.SecretVersion `json:"versions"`
	LastUse  *SecretUse         `json:"lastUse,omitempty"`
}

// SecretUse is the last time that a build was given a secret.
type SecretUse struct {
	Build   ci.BuildID `json:"build"`
	Version int64      `json:"version"`
	Time    string     `json:"time"`
}

// holder lets pass who may do with secrets of a project what the verb says, or
// with global ones ("") as an administrator.
func (a *App) holder(ctx context.Context, v verb, project string) (ci.User, error) {
	if a.cfg.Secrets == nil {
		return ci.User{}, fmt.Errorf("this server keeps no secrets: %w", ci.ErrUnavailable)
	}
	if project != "" {
		_, u, err := a.enter(ctx, v, project)
		return u, err
	}
	u, err := manage(ctx, v)
	if err == nil && u.Role != ci.RoleAdmin {
		err = fmt.Errorf("the server: global secrets take the role %s, and yours is %s; keep the secret in a project, or ask an administrator: %w", ci.RoleAdmin, u.Role, ci.ErrDenied)
	}
	return u, err
}

// Secrets lists the secrets that builds of a project may use, its own before the
// global ones; for "" all global ones.
func (a *App) Secrets(ctx context.Context, project string) ([]ci.Secret, error) {
	if _, err := a.holder(ctx, viewSecret, project); err != nil {
		return nil, err
	}
	list, err := a.cfg.Store.Secrets(ctx, project)
	if err != nil || project == "" {
		return list, err
	}
	global, err := a.cfg.Store.Secrets(ctx, "")
	for _, s := range global {
		if s.ForProject(project) {
			s.Projects = nil // which others may use it is for administrators
			list = append(list, s)
		}
	}
	return list, err
}

// Secret shows a secret of a project, or for "" a global one, without its values.
func (a *App) Secret(ctx context.Context, project, name string) (SecretInfo, error) {
	if _, err := a.holder(ctx, viewSecret, project); err != nil {
		return SecretInfo{}, err
	}
	s, err := a.cfg.Store.Secret(ctx, project, name)
	if err != nil {
		return SecretInfo{}, err
	}
	info := SecretInfo{Secret: s}
	if info.Versions, err = a.cfg.Store.SecretVersions(ctx, s.ID); err != nil {
		return SecretInfo{}, err
	}
	use, err := a.cfg.Store.LastUse(ctx, s.ID)
	if errors.Is(err, ci.ErrNotFound) {
		return info, nil
	}
	info.LastUse = &SecretUse{use.Build, use.Version, use.Time.Format("2006-01-02T15:04:05Z07:00")}
	return info, err
}

// NewSecret is a value to keep.
type NewSecret struct {
	Name        string
	Value       string
	Description string // "" = as it was
}

// SetSecret keeps a value as the newest version of a secret, which is made if missing.
func (a *App) SetSecret(ctx context.Context, project string, n NewSecret) (ci.Secret, error) {
	u, err := a.holder(ctx, setSecret, project)
	if err != nil {
		return ci.Secret{}, err
	}
	in := &Invalid{}
	if err := ci.CheckSecretName(n.Name); err != nil {
		in.add("name", "%s", ci.Message(err))
	}
	in.text("value", n.Value, maxValue)
	if n.Value == "" {
		in.add("value", "is missing")
	}
	in.line("description", n.Description, maxDescription)
	if err := in.err(); err != nil {
		return ci.Secret{}, err
	}
	ctx = a.noting(ctx, u, setSecret, project, n.Name)
	s, err := a.cfg.Secrets.Add(ctx, project, n.Name, n.Description, n.Value, u.Name)
	if err != nil {
		return ci.Secret{}, err
	}
	return s, a.changed(ctx, u, setSecret, project, "", n.Name)
}

// DeleteSecret removes a secret with all its versions.
func (a *App) DeleteSecret(ctx context.Context, project, name string) error {
	u, err := a.holder(ctx, deleteSecret, project)
	if err != nil {
		return err
	}
	ctx = a.noting(ctx, u, deleteSecret, project, name)
	if err := a.cfg.Store.DeleteSecret(ctx, project, name); err != nil {
		return err
	}
	return a.changed(ctx, u, deleteSecret, project, "", name)
}

// PruneSecret removes all but the newest versions of a secret, and says how many.
func (a *App) PruneSecret(ctx context.Context, project, name string, keep int64) (int64, error) {
	u, err := a.holder(ctx, deleteSecret, project)
	if err != nil {
		return 0, err
	}
	if keep < 1 {
		in := &Invalid{}
		in.add("keep", "want at least 1: to be rid of all versions, delete the secret")
		return 0, in
	}
	detail := fmt.Sprintf("%s, all versions but the newest %d", name, keep)
	ctx = a.noting(ctx, u, deleteSecret, project, detail)
	n, err := a.cfg.Store.PruneSecret(ctx, project, name, keep)
	if err != nil || n == 0 {
		return 0, err
	}
	return n, a.changed(ctx, u, deleteSecret, project, "", detail)
}

// GrantSecret says which projects may use a global secret, in place of those that
// might before; ci.AllProjects among them stands for all.
func (a *App) GrantSecret(ctx context.Context, name string, projects []string) (ci.Secret, error) {
	u, err := a.holder(ctx, grantSecret, "")
	if err != nil {
		return ci.Secret{}, err
	}
	in := &Invalid{}
	for i, p := range projects {
		if _, err := a.cfg.Store.Project(ctx, p); p != ci.AllProjects && errors.Is(err, ci.ErrNotFound) {
			in.add(fmt.Sprintf("projects[%d]", i), "there is no project %.160q", p)
		}
	}
	if err := in.err(); err != nil {
		return ci.Secret{}, err
	}
	detail := fmt.Sprintf("%s, for %s", name, strings.Join(projects, ", "))
	ctx = a.noting(ctx, u, grantSecret, "", detail)
	if err := a.cfg.Store.GrantSecret(ctx, name, projects); err != nil {
		return ci.Secret{}, err
	}
	if err := a.changed(ctx, u, grantSecret, "", "", detail); err != nil {
		return ci.Secret{}, err
	}
	return a.cfg.Store.Secret(ctx, "", name)
}

// RotateKey seals all values under a new master key, for administrators.
func (a *App) RotateKey(ctx context.Context, forget bool) (ci.KeyRotation, error) {
	u, err := a.holder(ctx, rotateKey, "")
	if err != nil {
		return ci.KeyRotation{}, err
	}
	done, err := a.cfg.Secrets.Rotate(ctx, forget)
	if done.Key != "" {
		err = errors.Join(err, a.changed(ctx, u, rotateKey, "", "", fmt.Sprintf("to %s, %d values", done.Key, done.Resealed)))
	}
	return done, err
}

func (i *Invalid) secretSources(names []string) {
	for n, name := range names {
		if !slices.Contains(ci.SecretSources(), name) {
			i.add(fmt.Sprintf("secretSources[%d]", n), "there is no source %.80q: want %s", name, strings.Join(ci.SecretSources(), ", "))
		}
	}
}

// added lists what of after was not in before.
func added(before, after []string) (list []string) {
	for _, s := range after {
		if !slices.Contains(before, s) {
			list = append(list, s)
		}
	}
	return list
}
