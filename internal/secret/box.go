package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sluice-ci/sluice/internal/ci"
)

const keySize = 32

// box seals values with AES-256-GCM. The name is bound in, so that a sealed
// value opens under its own name only.
type box struct{ aead cipher.AEAD }

// box reads the master key, or makes it when there is none and may be none.
func (s *Store) box(create bool) (*box, error) {
	key, err := s.readKey()
	if create && errors.Is(err, fs.ErrNotExist) {
		fresh := [keySize]byte{}
		_, _ = rand.Read(fresh[:]) // never fails
		// A link, unlike a rename, does not replace a key that another process just made.
		if err = writeFile(s.keyFile(), fresh[:], os.Link); err == nil || errors.Is(err, fs.ErrExist) {
			key, err = s.readKey()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("master key %s is gone, and without it the kept secrets cannot be read: bring it back, or remove the folder and set them anew: %w", s.keyFile(), ci.ErrUnavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	return &box{aead}, nil
}

func (s *Store) readKey() ([]byte, error) {
	if err := private(s.keyFile()); err != nil {
		return nil, err
	}
	key, err := os.ReadFile(s.keyFile())
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("%s has %d bytes, want %d: bring the right one back: %w", s.keyFile(), len(key), keySize, ci.ErrInvalid)
	}
	return key, err
}

func (b *box) seal(name, value string) []byte {
	return b.aead.Seal(nil, nil, []byte(value), []byte("sluice secret\x00"+name))
}

func (b *box) open(name string, sealed []byte) (string, error) {
	value, err := b.aead.Open(nil, nil, sealed, []byte("sluice secret\x00"+name))
	if err != nil {
		return "", fmt.Errorf("secret %q: it was sealed with another master key, or is damaged: set it anew: %w", name, ci.ErrInvalid)
	}
	return string(value), nil
}
