package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Safe seals the keys: secret.Safe.
type Safe interface {
	Add(ctx context.Context, project, name, description, value, by string) (ci.Secret, error)
	Open(ctx context.Context, v ci.SecretVersion) (string, error)
}

// Records keeps what Safe sealed; store.DB.
type Records interface {
	Secret(ctx context.Context, project, name string) (ci.Secret, error)
	SecretVersions(ctx context.Context, id string) ([]ci.SecretVersion, error)
	PruneSecret(ctx context.Context, project, name string, keep int64) (int64, error)
}

// Config is what an Issuer works with. All but Now is needed.
type Config struct {
	Safe    Safe
	Records Records
	URL     func() string // of the server, as others reach it: the issuer's name
	Build   func(context.Context, ci.BuildID) (ci.Build, error)
	Project func(context.Context, string) (ci.Project, error)
	Now     func() time.Time // nil = time.Now
}

// Issuer makes tokens for builds. Its methods are safe from several goroutines.
type Issuer struct {
	cfg Config

	mu     sync.Mutex
	hmac   []byte
	signer map[string]*signingKey // by secret and version, those that were read
}

// New makes one. Keys are made when they are needed first.
func New(c Config) *Issuer {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Issuer{cfg: c, signer: map[string]*signingKey{}}
}

// Life is how long a signed token is good: it is to be exchanged at once.
const Life = 10 * time.Minute

// keyLife is the age at which a signing key is replaced.
const keyLife = 90 * 24 * time.Hour

// published is how many keys of an algorithm are shown: what the one before the
// newest signed stays good for its Life, and for those who remember keys.
const published = 2

type signingKey struct {
	id      string // RFC 7638
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

// algorithms that tokens are signed with, the usual one first.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
}

// IDToken says that whoever has it is the build, to the audience. algorithm is ""
// for RS256, or ES256.
func (i *Issuer) IDToken(ctx context.Context, b ci.Build, audience, algorithm string) (token string, expires time.Time, err error) {
	alg := jose.RS256
	switch algorithm {
	case "", string(jose.RS256):
	case string(jose.ES256):
		alg = jose.ES256
	default:
		return "", expires, fmt.Errorf("algorithm %.40q: want RS256 or ES256: %w", algorithm, ci.ErrInvalid)
	}
	keys, err := i.keys(ctx, alg)
	if err != nil {
		return "", expires, fmt.Errorf("sign a token: %w", err)
	}
	key := keys[0]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key.private, KeyID: key.id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", expires, fmt.Errorf("sign a token: %w", err)
	}
	now := i.cfg.Now()
	expires = now.Add(Life).Truncate(time.Second)
	claims := i.claims(b)
	claims["iss"], claims["aud"], claims["jti"] = i.cfg.URL(), audience, rand.Text()
	claims["iat"], claims["nbf"], claims["exp"] = now.Unix(), now.Unix(), expires.Unix()
	token, err = jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return "", expires, fmt.Errorf("sign a token: %w", err)
	}
	return token, expires, nil
}

// claims say what build it is. The ref is that which git resolved, and only of a
// repository: what somebody uploads can call itself anything.
func (i *Issuer) claims(b ci.Build) map[string]any {
	c := map[string]any{
		"sub": "project:" + b.Project, "sluice.project": b.Project, "build": string(b.ID), "number": b.Number, "initiator": b.Initiator, "source": b.Source.Type,
	}
	if b.Source.Type != "git" {
		return c
	}
	if b.Commit.Hash != "" {
		c["commit"] = b.Commit.Hash
	}
	if b.Commit.Ref != "" {
		c["ref"] = b.Commit.Ref
		c["sub"] = "project:" + b.Project + ":ref:" + b.Commit.Ref
	}
	return c
}

// keys of an algorithm that are published, the one to sign with first. The first
// is made here, and a new one when that is old.
func (i *Issuer) keys(ctx context.Context, alg jose.SignatureAlgorithm) ([]*signingKey, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	versions, err := i.versions(ctx, string(alg))
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 || i.cfg.Now().Sub(versions[0].Created) > keyLife {
		if err := i.grow(ctx, alg); err != nil {
			return nil, err
		}
		if versions, err = i.versions(ctx, string(alg)); err != nil {
			return nil, err
		}
	}
	var keys []*signingKey
	for _, v := range versions[:min(len(versions), published)] {
		k, err := i.read(ctx, alg, v)
		if err != nil && len(keys) == 0 {
			return nil, err
		}
		if err == nil { // an older one that cannot be read any more is no loss
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (i *Issuer) read(ctx context.Context, alg jose.SignatureAlgorithm, v ci.SecretVersion) (*signingKey, error) {
	name := fmt.Sprintf("%s/%d", v.Secret, v.Number)
	if k := i.signer[name]; k != nil {
		return k, nil
	}
	text, err := i.cfg.Safe.Open(ctx, v)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("signing key %s: it is no PEM: %w", name, ci.ErrInvalid)
	}
	raw, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := raw.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("signing key %s: it is no key: %w", name, ci.ErrInvalid)
	}
	sum, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", name, err)
	}
	k := &signingKey{id: base64.RawURLEncoding.EncodeToString(sum), alg: alg, private: private}
	i.signer[name] = k
	return k, nil
}

// grow makes a key the newest, and drops those that are published no more.
func (i *Issuer) grow(ctx context.Context, alg jose.SignatureAlgorithm) error {
	var private crypto.Signer
	var err error
	if alg == jose.RS256 {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	if _, err := i.cfg.Safe.Add(ctx, Scope, string(alg), "", string(text), Scope); err != nil {
		return err
	}
	_, err = i.cfg.Records.PruneSecret(ctx, Scope, string(alg), published)
	return err
}

// Rotate makes new signing keys. What the last ones signed stays good for its time.
func (i *Issuer) Rotate(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, alg := range algorithms() {
		if err := i.grow(ctx, alg); err != nil {
			return err
		}
	}
	// The key of the builds' tokens stays, or those of running builds would end;
	// unless it is lost with the master key that it was sealed under.
	if _, err := i.secretKey(ctx); err != nil {
		_, err := i.cfg.Safe.Add(ctx, Scope, tokenKey, "", rand.Text()+rand.Text(), Scope)
		return err
	}
	return nil
}

// Discovery is the document at /.well-known/openid-configuration.
func (i *Issuer) Discovery() ([]byte, error) {
	url := i.cfg.URL()
	return json.Marshal(map[string]any{
		"issuer":                                url,
		"jwks_uri":                              url + "/.well-known/jwks.json",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": algorithms(),
		"scopes_supported":                      []string{"openid"},
		"claims_supported":                      []string{"sub", "aud", "iss", "iat", "nbf", "exp", "jti", "sluice.project", "build", "number", "initiator", "source", "commit", "ref"},
	})
}

// Keys is the document at /.well-known/jwks.json: the public halves.
func (i *Issuer) Keys(ctx context.Context) ([]byte, error) {
	var set jose.JSONWebKeySet
	for _, alg := range algorithms() {
		keys, err := i.keys(ctx, alg)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"})
		}
	}
	return json.Marshal(set)
}
