package main

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/oidc"
)

// oidcConfig is how people log in at an OpenID provider.
type oidcConfig struct {
	oidc.Config
	secretFile string
	create     bool
	role       ci.Role
}

// set takes one setting.
func (c *oidcConfig) set(t told, bad func(t told, format string, args ...any)) {
	switch v := t.value; t.name {
	case "oidc-issuer":
		c.Issuer = v
		if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "") {
			bad(t, "%q: want an address such as https://login.example.com", v)
		}
	case "oidc-client":
		c.Client = v
	case "oidc-secret-file":
		c.secretFile = v
	case "oidc-scopes":
		c.Scopes = commaList(v)
	case "oidc-user-claim":
		if c.UserClaim = v; v == "" {
			bad(t, "want the name of a claim, such as preferred_username")
		}
	case "oidc-groups-claim":
		c.GroupsClaim = v
	case "oidc-domains":
		c.Domains = commaList(v)
	case "oidc-groups":
		c.Groups = commaList(v)
	case "oidc-create":
		var err error
		if c.create, err = strconv.ParseBool(v); err != nil {
			bad(t, "%q: want true or false", v)
		}
	case "oidc-role":
		if c.role = ci.Role(v); v != "" && !c.role.Known() {
			bad(t, "%q: want viewer, builder, maintainer or admin, or nothing", v)
		}
	}
}

// check looks at what settings say together.
func (c *oidcConfig) check(bad func(name, format string, args ...any)) {
	if c.Issuer != "" && c.Client == "" {
		bad("oidc-client", "want the ID that the provider %s gave this server", c.Issuer)
	}
	if c.Issuer == "" && c.Client != "" {
		bad("oidc-issuer", "want the URL of the provider that gave the ID %q", c.Client)
	}
	if len(c.Groups) > 0 && c.GroupsClaim == "" {
		bad("oidc-groups-claim", "want the claim that says in which groups people are, such as groups")
	}
}

// commaList reads a,b,c.
func commaList(text string) []string {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	if len(fields) == 0 {
		return nil
	}
	return slices.Compact(fields)
}

// sso is how people log in at the provider; nil = there is none.
func (s *server) sso() (*app.SSO, error) {
	c := s.cfg.oidc
	if c.Issuer == "" {
		return nil, nil //nolint:nilnil // none is a setting like another
	}
	if c.secretFile != "" {
		text, err := os.ReadFile(c.secretFile)
		if err != nil {
			return nil, fmt.Errorf("oidc-secret-file: %w", err)
		}
		c.Secret = strings.TrimSpace(string(text))
	}
	return &app.SSO{
		Provider: oidc.New(c.Config), Redirect: func() string { return s.cfg.url + api.CallbackPath },
		Create: c.create, Role: c.role, Groups: c.GroupsClaim != "",
	}, nil
}
