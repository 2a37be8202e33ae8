package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	oidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Config is how a provider is asked, and whom of those that it knows are let in.
type Config struct {
	Issuer      string   // its URL; /.well-known/openid-configuration is below it
	Client      string   // the ID that it gave this server
	Secret      string   // the client's; "" = the client is a public one
	Scopes      []string // beside openid
	UserClaim   string   // what users are called by; a verified "email" may be it
	GroupsClaim string   // the names of the user's groups; "" = none are asked for
	Domains     []string // of verified addresses of mail; none = any
	Groups      []string // one of which a user must be in; none = anybody
}

// Provider is one that people log in at. Its methods are safe from several
// goroutines.
type Provider struct {
	cfg  Config
	http *http.Client

	mu    sync.Mutex
	known *oidc.Provider // nil = not asked yet
}

// answerIn is how long the provider has for one answer.
const answerIn = 20 * time.Second

// New makes one. The provider is asked when somebody logs in, so that the server
// starts without it.
func New(c Config) *Provider {
	return &Provider{cfg: c, http: &http.Client{Timeout: answerIn}}
}

// discover asks the provider where its parts are, once it answers.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known, nil
	}
	// It keeps the context to fetch keys later.
	known, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask the identity provider %s: %w: %w", p.cfg.Issuer, err, ci.ErrUnavailable)
	}
	p.known = known
	return known, nil
}

// Issuer is the provider's URL.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

func (p *Provider) oauth(known *oidc.Provider, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.Client, ClientSecret: p.cfg.Secret, Endpoint: known.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.cfg.Scopes...),
	}
}

// Flow is what a login takes between its beginning and its end.
type Flow struct {
	Nonce    string `json:"nonce"`    // comes back in the ID token, which is then for this login
	Verifier string `json:"verifier"` // known to who may use the provider's code
	Redirect string `json:"redirect"` // where the provider sends the browser: this server
}

// NewFlow begins a login.
func NewFlow(redirect string) Flow {
	return Flow{Nonce: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(), Redirect: redirect} // 32 bytes of chance each
}

// Begin says where to send a browser. state names the flow in the answer.
func (p *Provider) Begin(ctx context.Context, f Flow, state string) (address string, err error) {
	known, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	return p.oauth(known, f.Redirect).AuthCodeURL(state, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), nil
}

// Finish takes the code that the provider sent and finds out who that is. Who is
// not let in is ci.ErrDenied.
func (p *Provider) Finish(ctx context.Context, f Flow, code string) (ci.Identity, error) {
	known, err := p.discover(ctx)
	if err != nil {
		return ci.Identity{}, err
	}
	ctx = oidc.ClientContext(ctx, p.http)
	token, err := p.oauth(known, f.Redirect).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	var no *oauth2.RetrieveError
	if errors.As(err, &no) && no.Response.StatusCode < http.StatusInternalServerError {
		return ci.Identity{}, fmt.Errorf("the identity provider refused the login (%s): begin again: %w", clean(no.ErrorCode), ci.ErrDenied)
	}
	if err != nil {
		return ci.Identity{}, fmt.Errorf("ask the identity provider for a token: %w: %w", err, ci.ErrUnavailable)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return ci.Identity{}, fmt.Errorf("the identity provider gave no ID token: %w", ci.ErrDenied)
	}
	id, err := known.Verifier(&oidc.Config{ClientID: p.cfg.Client}).Verify(ctx, raw)
	if err != nil {
		return ci.Identity{}, fmt.Errorf("the identity provider's ID token is not good: %w: %w", err, ci.ErrDenied)
	}
	if id.Nonce != f.Nonce {
		return ci.Identity{}, fmt.Errorf("the identity provider's ID token is not for this login: %w", ci.ErrDenied)
	}
	claims := map[string]json.RawMessage{}
	if err := id.Claims(&claims); err != nil {
		return ci.Identity{}, fmt.Errorf("the identity provider's ID token cannot be read: %w: %w", err, ci.ErrDenied)
	}
	if err := p.ask(ctx, known, token, id.Subject, claims); err != nil {
		return ci.Identity{}, err
	}
	return p.identity(id.Issuer, id.Subject, claims)
}

// ask adds what the provider says at its place for that, if it has one. What
// stands in the ID token counts first.
func (p *Provider) ask(ctx context.Context, known *oidc.Provider, token *oauth2.Token, subject string, claims map[string]json.RawMessage) error {
	if known.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := known.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("ask the identity provider about the user: %w: %w", err, ci.ErrUnavailable)
	}
	more := map[string]json.RawMessage{}
	if err := info.Claims(&more); err != nil || info.Subject != subject {
		return fmt.Errorf("what the identity provider says about the user is of no use, or about another: %w", ci.ErrDenied)
	}
	for name, value := range more {
		if _, have := claims[name]; !have {
			claims[name] = value
		}
	}
	return nil
}

// identity reads claims, and says who may not come in.
func (p *Provider) identity(issuer, subject string, claims map[string]json.RawMessage) (ci.Identity, error) {
	who := ci.Identity{Issuer: issuer, Subject: subject, Name: text(claims, p.cfg.UserClaim), Full: text(claims, "name")}
	if subject == "" {
		return who, fmt.Errorf("the identity provider names no subject: %w", ci.ErrDenied)
	}
	verified := yes(claims["email_verified"])
	if verified {
		who.Mail = text(claims, "email")
	}
	if p.cfg.UserClaim == "email" && !verified {
		who.Name = ""
	}
	if p.cfg.GroupsClaim != "" {
		who.Groups = list(claims[p.cfg.GroupsClaim])
	}
	if who.Name == "" {
		return who, fmt.Errorf("the identity provider does not say what to call the user: the claim %q is missing, or not verified: %w", p.cfg.UserClaim, ci.ErrDenied)
	}
	if len(p.cfg.Domains) > 0 {
		_, domain, _ := strings.Cut(who.Mail, "@")
		if !slices.ContainsFunc(p.cfg.Domains, func(d string) bool { return domain != "" && strings.EqualFold(d, domain) }) {
			return who, fmt.Errorf("only people with a verified address of mail at %s may log in: %w", strings.Join(p.cfg.Domains, ", "), ci.ErrDenied)
		}
	}
	if len(p.cfg.Groups) > 0 && !slices.ContainsFunc(who.Groups, func(g string) bool { return slices.Contains(p.cfg.Groups, g) }) {
		return who, fmt.Errorf("only people in one of the groups %s may log in: %w", strings.Join(p.cfg.Groups, ", "), ci.ErrDenied)
	}
	return who, nil
}

// text is a claim that is text; "" for any other.
func text(claims map[string]json.RawMessage, name string) string {
	var s string
	if json.Unmarshal(claims[name], &s) != nil {
		return ""
	}
	return s
}

// yes reads true; some providers write it as text.
func yes(raw json.RawMessage) bool {
	return string(raw) == "true" || string(raw) == `"true"`
}

// list reads several texts, or one.
func list(raw json.RawMessage) []string {
	var several []string
	if json.Unmarshal(raw, &several) == nil {
		return several
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}

// clean is a code that others chose, without what would do harm in a message.
func clean(code string) string {
	code = strings.Map(func(r rune) rune {
		if r == '_' || 'a' <= r && r <= 'z' {
			return r
		}
		return -1
	}, code)
	return code[:min(len(code), 40)]
}
