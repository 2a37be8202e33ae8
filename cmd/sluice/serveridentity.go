package main

import (
	"context"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/identity"
)

// issuer gives builds their identity.
func (s *server) issuer() *identity.Issuer {
	return identity.New(identity.Config{
		Safe: s.safe, Records: s.db, URL: func() string { return s.cfg.url }, Build: s.engine.Build, Project: s.db.Project,
	})
}

func (s *server) identityOf(ctx context.Context, b ci.Build) ([]ci.Variable, []string, error) {
	return s.desk.IdentityOf(ctx, b, s.cfg.url)
}

// identify finds who has a token: a build, or a user.
func (s *server) identify(ctx context.Context, token string) (ci.User, error) {
	if strings.HasPrefix(token, identity.Prefix) {
		return s.desk.Identify(ctx, token)
	}
	return s.auth.Identify(ctx, token)
}
