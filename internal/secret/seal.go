package secret

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Sealer seals values that are kept elsewhere, under a key that is itself a secret
// of the safe: so they need no place in it, another server over the same records
// opens them, and a new master key reseals one secret for all of them. It is safe
// from several goroutines.
type Sealer struct {
	safe     *Safe
	versions Versions
	scope    string

	mu  sync.Mutex
	box *box
}

// Versions reads what a safe keeps.
type Versions interface {
	Secret(ctx context.Context, project, name string) (ci.Secret, error)
	SecretVersions(ctx context.Context, id string) ([]ci.SecretVersion, error) // the newest first
}

// sealKey is the name of a sealer's key in its scope.
const sealKey = "key"

// NewSealer makes a sealer whose key is kept below the scope, which can be no
// project's name.
func NewSealer(s *Safe, v Versions, scope string) *Sealer {
	return &Sealer{safe: s, versions: v, scope: scope}
}

// Seal seals a value under a name: it opens under that name only. The key is made
// when there is none yet.
func (s *Sealer) Seal(ctx context.Context, name, value string) (string, error) {
	b, err := s.key(ctx, true)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.seal(name, value)), nil
}

// Unseal opens what Seal made.
func (s *Sealer) Unseal(ctx context.Context, name, sealed string) (string, error) {
	b, err := s.key(ctx, false)
	if err != nil {
		return "", err
	}
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("%s: what is stored is damaged: set it anew: %w", name, ci.ErrInvalid)
	}
	return b.open(name, raw)
}

// key is the oldest version of its secret: should two servers make the first at
// once, both use the same.
func (s *Sealer) key(ctx context.Context, create bool) (*box, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box != nil {
		return s.box, nil
	}
	known, err := s.stored(ctx)
	if errors.Is(err, ci.ErrNotFound) && create {
		fresh := [keySize]byte{}
		_, _ = rand.Read(fresh[:]) // never fails
		if _, err = s.safe.Add(ctx, s.scope, sealKey, "", base64.StdEncoding.EncodeToString(fresh[:]), s.scope); err == nil {
			known, err = s.stored(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key of what is sealed for %s: %w", s.scope, err)
	}
	text, err := s.safe.Open(ctx, known[len(known)-1])
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("key of what is sealed for %s: what is stored is damaged: %w", s.scope, ci.ErrInvalid)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s.box = &box{aead}
	return s.box, nil
}

func (s *Sealer) stored(ctx context.Context) ([]ci.SecretVersion, error) {
	sec, err := s.versions.Secret(ctx, s.scope, sealKey)
	if err != nil {
		return nil, err
	}
	list, err := s.versions.SecretVersions(ctx, sec.ID)
	if err == nil && len(list) == 0 {
		err = ci.ErrNotFound
	}
	return list, err
}
