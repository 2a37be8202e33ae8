package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/identity"
)

// Variables that a build with an identity has.
const (
	varBuild      = "SLUICE_BUILD" // project/number
	varURL        = "SLUICE_URL"
	varToken      = "SLUICE_TOKEN" //nolint:gosec // a name
	varRequestURL = "SLUICE_ID_TOKEN_REQUEST_URL"
)

// IdentityOf gives the variables with which a build reaches the server, where its
// project gives its builds a token, and which texts of them are secret. url is the
// server's.
func (a *App) IdentityOf(ctx context.Context, b ci.Build, url string) (vars []ci.Variable, secret []string, err error) {
	if a.cfg.Identity == nil {
		return nil, nil, nil
	}
	var p ci.Project
	err = insist(ctx, func() (err error) {
		p, err = a.cfg.Store.Project(ctx, b.Project)
		return err
	})
	if errors.Is(err, ci.ErrNotFound) {
		return nil, nil, nil // deleted under the build
	}
	if err != nil || identity.RoleOf(p, b) == ci.RoleNone {
		return nil, nil, err
	}
	token, err := a.cfg.Identity.Token(ctx, b.ID)
	if err != nil {
		return nil, nil, err
	}
	vars = []ci.Variable{{Name: varBuild, Value: fmt.Sprintf("%s/%d", b.Project, b.Number)}, {Name: varURL, Value: url}, {Name: varToken, Value: token}}
	if !b.Untrusted {
		vars = append(vars, ci.Variable{Name: varRequestURL, Value: fmt.Sprintf("%s/api/v1/projects/%s/builds/%d/id-token", url, b.Project, b.Number)})
	}
	return vars, []string{token}, nil
}

// Identify finds the build of a token that begins with identity.Prefix.
func (a *App) Identify(ctx context.Context, token string) (ci.User, error) {
	if a.cfg.Identity == nil {
		return ci.User{}, fmt.Errorf("the token is not valid (any more): %w", ci.ErrDenied)
	}
	return a.cfg.Identity.Identify(ctx, token)
}

// NewIDToken asks for a signed token.
type NewIDToken struct {
	Audience  string
	Algorithm string // "" = RS256
}

// IDToken is a signed token that says which build has it.
type IDToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// IssueIDToken gives a build that runs a signed token of its own: to nobody else.
func (a *App) IssueIDToken(ctx context.Context, project string, number int64, n NewIDToken) (IDToken, error) {
	id, u, err := a.find(ctx, viewBuild, project, number)
	if err != nil {
		return IDToken{}, err
	}
	if a.cfg.Identity == nil || u.Build == "" || u.Build != id {
		return IDToken{}, fmt.Errorf("build %s/%d: only the build itself gets a token that says who it is, with its SLUICE_TOKEN and while it runs: %w", project, number, ci.ErrDenied)
	}
	in := &Invalid{}
	in.line("audience", n.Audience, maxTagValue)
	if n.Audience == "" {
		in.add("audience", "is missing: want who the token is for, such as sts.amazonaws.com")
	}
	if n.Algorithm != "" && n.Algorithm != "RS256" && n.Algorithm != "ES256" {
		in.add("algorithm", "%.40q: want RS256 or ES256", n.Algorithm)
	}
	if err := in.err(); err != nil {
		return IDToken{}, err
	}
	b, err := a.cfg.Engine.Build(ctx, id)
	if err != nil {
		return IDToken{}, err
	}
	if b.Untrusted {
		return IDToken{}, fmt.Errorf("build %s/%d is of what strangers wrote (a pull request from a fork), and gets no identity: %w", project, number, ci.ErrDenied)
	}
	if p, err := a.cfg.Store.Project(ctx, project); err != nil || p.Source.Type != b.Source.Type || p.Source.Location != b.Source.Location {
		if err != nil {
			return IDToken{}, err
		}
		b.Source.Type = "other" // a branch of that name there is not the project's
	}
	token, expires, err := a.cfg.Identity.IDToken(ctx, b, n.Audience, n.Algorithm)
	if err != nil {
		return IDToken{}, err
	}
	return IDToken{token, expires}, a.changed(ctx, u, issueIdentity, project, id, "for "+n.Audience)
}

// RotateIssuer makes new signing keys, for administrators.
func (a *App) RotateIssuer(ctx context.Context) error {
	u, err := manage(ctx, rotateIssuer)
	if err != nil {
		return err
	}
	if a.cfg.Identity == nil {
		return fmt.Errorf("this server gives builds no identity: %w", ci.ErrUnavailable)
	}
	if err := a.cfg.Identity.Rotate(ctx); err != nil {
		return err
	}
	return a.changed(ctx, u, rotateIssuer, "", "", "")
}

// Discovery and SigningKeys are the documents of the issuer that everybody may
// read; ErrNotFound: this server is none.
func (a *App) Discovery(context.Context) ([]byte, error) {
	if a.cfg.Identity == nil {
		return nil, ci.ErrNotFound
	}
	return a.cfg.Identity.Discovery()
}

// SigningKeys is the other one.
func (a *App) SigningKeys(ctx context.Context) ([]byte, error) {
	if a.cfg.Identity == nil {
		return nil, ci.ErrNotFound
	}
	return a.cfg.Identity.Keys(ctx)
}
