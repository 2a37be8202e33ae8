package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Prefix is what tokens of builds begin with.
const Prefix = "slb_"

// Scope is where the keys are kept among the server's secrets. No project and no
// user reaches it by name.
const Scope = "#identity"

const tokenKey = "build-tokens"

// Token is the build's for the API. It is made from the build's ID and a key, so
// that a build that is taken up after a restart has the same, and nothing of it
// need be stored.
func (i *Issuer) Token(ctx context.Context, b ci.BuildID) (string, error) {
	mac, err := i.mac(ctx, b)
	if err != nil {
		return "", fmt.Errorf("token of build %s: %w", b, err)
	}
	return Prefix + string(b) + "_" + base64.RawURLEncoding.EncodeToString(mac), nil
}

func (i *Issuer) mac(ctx context.Context, b ci.BuildID) ([]byte, error) {
	i.mu.Lock()
	key, err := i.secretKey(ctx)
	i.mu.Unlock()
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte("sluice build token\x00" + string(b)))
	return h.Sum(nil), nil
}

// secretKey is the oldest version of its secret that can be read: should two
// servers make the first at once, both use the same. Under i.mu.
func (i *Issuer) secretKey(ctx context.Context) ([]byte, error) {
	if i.hmac != nil {
		return i.hmac, nil
	}
	versions, err := i.versions(ctx, tokenKey)
	if err == nil && len(versions) == 0 {
		if _, err = i.cfg.Safe.Add(ctx, Scope, tokenKey, "", rand.Text()+rand.Text(), Scope); err == nil {
			versions, err = i.versions(ctx, tokenKey)
		}
	}
	if err != nil {
		return nil, err
	}
	for n := len(versions) - 1; n >= 0; n-- {
		text, openErr := i.cfg.Safe.Open(ctx, versions[n])
		if openErr == nil {
			i.hmac = []byte(text)
			return i.hmac, nil
		}
		err = errors.Join(err, openErr)
	}
	return nil, err
}

// versions of a key, the newest first; none when it was never made.
func (i *Issuer) versions(ctx context.Context, name string) ([]ci.SecretVersion, error) {
	s, err := i.cfg.Records.Secret(ctx, Scope, name)
	if errors.Is(err, ci.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return i.cfg.Records.SecretVersions(ctx, s.ID)
}

// Identify finds the build of a token, as a user with the role that the project
// gives to its builds, there and nowhere else. A token that is not, or no longer,
// good is ci.ErrDenied, and the answer does not say why.
func (i *Issuer) Identify(ctx context.Context, token string) (ci.User, error) {
	denied := fmt.Errorf("the build's token is not valid (any more): %w", ci.ErrDenied)
	rest, ok := strings.CutPrefix(token, Prefix)
	id, text, found := strings.Cut(rest, "_")
	given, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || !found || len(id) > 100 || err != nil {
		return ci.User{}, denied
	}
	mac, err := i.mac(ctx, ci.BuildID(id))
	if err != nil {
		return ci.User{}, err
	}
	if !hmac.Equal(mac, given) {
		return ci.User{}, denied
	}
	b, err := i.cfg.Build(ctx, ci.BuildID(id))
	if errors.Is(err, ci.ErrNotFound) || err == nil && b.Status.Done() {
		return ci.User{}, denied
	}
	if err != nil {
		return ci.User{}, err
	}
	p, err := i.cfg.Project(ctx, b.Project)
	if errors.Is(err, ci.ErrNotFound) {
		return ci.User{}, denied
	}
	role := RoleOf(p, b)
	if err != nil || role == ci.RoleNone {
		return ci.User{}, errors.Join(err, denied)
	}
	return ci.User{
		Name: fmt.Sprintf("build:%s/%d", b.Project, b.Number), Projects: map[string]ci.Role{b.Project: role}, Only: []string{b.Project}, Build: b.ID,
	}, nil
}

// RoleOf is the role that a build has in its project: the one that the project
// gives to its builds, to an untrusted one never more than to look.
func RoleOf(p ci.Project, b ci.Build) ci.Role {
	if b.Untrusted && p.BuildRole.Known() {
		return ci.RoleViewer
	}
	return p.BuildRole
}
