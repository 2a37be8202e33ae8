package secret

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Keys are the master keys of a server. They are read when one is needed first,
// and again when a value is sealed under one that is not known.
type Keys struct {
	from string // for messages
	file string // "" = not ours to write
	read func(context.Context) ([]byte, error)

	mu     sync.Mutex
	ring   []masterKey // the wanted one first
	missed time.Time   // when it was last read again because one was not among them
}

// masterKey opens and seals. Its ID is made from the key and tells nothing of it.
type masterKey struct {
	id   string
	aead cipher.AEAD
}

// KeyFile keeps the keys in a file of our own, mode 0600, which is made when the
// first is needed.
func KeyFile(path string) *Keys {
	k := &Keys{from: path, file: path}
	k.read = func(context.Context) ([]byte, error) {
		if err := private(path); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	}
	return k
}

// KeysFrom has the keys from elsewhere: the environment, a program. from names it
// in messages. A new key is the operator's to put in front there.
func KeysFrom(from string, read func(context.Context) ([]byte, error)) *Keys {
	return &Keys{from: from, read: read}
}

// maxKeys is more than anybody keeps.
const maxKeys = 100

// parseKeys reads one key a line, 32 bytes in base64, the one to seal with first.
// What stands behind # is for people. The errors show nothing of the text.
func parseKeys(text []byte) ([]masterKey, error) {
	var ring []masterKey
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(string(line))
		if err != nil || len(raw) != keySize {
			return nil, fmt.Errorf("line %d: want %d bytes in base64, as 'openssl rand -base64 32' makes them: %w", n, keySize, ci.ErrInvalid)
		}
		key, err := newMasterKey(raw)
		if err != nil {
			return nil, err
		}
		if len(ring) == maxKeys {
			return nil, fmt.Errorf("line %d: more than %d keys: %w", n, maxKeys, ci.ErrInvalid)
		}
		ring = append(ring, key)
	}
	if len(ring) == 0 {
		return nil, fmt.Errorf("no key in it: want 32 bytes in base64, as 'openssl rand -base64 32' makes them: %w", ci.ErrInvalid)
	}
	return ring, nil
}

func newMasterKey(raw []byte) (masterKey, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return masterKey{}, fmt.Errorf("master key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return masterKey{}, fmt.Errorf("master key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("sluice master key id\x00"), raw...))
	return masterKey{hex.EncodeToString(sum[:8]), aead}, nil
}

// load reads the keys. What is gone is fs.ErrNotExist.
func (k *Keys) load(ctx context.Context) ([]masterKey, error) {
	text, err := k.read(ctx)
	var ring []masterKey
	if err == nil {
		ring, err = parseKeys(text)
	}
	if err != nil {
		return nil, fmt.Errorf("master key from %s: %w", k.from, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring = ring
	return ring, nil
}

// rereadAfter bounds how often a key that is not there is looked for anew.
const rereadAfter = 5 * time.Second

// find gives the key of an ID. Another server may have made it just now.
func (k *Keys) find(ctx context.Context, id string) (masterKey, error) {
	k.mu.Lock()
	ring, lately := k.ring, time.Since(k.missed) < rereadAfter
	k.mu.Unlock()
	for again := range 2 {
		for _, key := range ring {
			if key.id == id {
				return key, nil
			}
		}
		if again == 1 || lately && ring != nil {
			break
		}
		if ring != nil {
			k.mu.Lock()
			k.missed = time.Now()
			k.mu.Unlock()
		}
		var err error
		if ring, err = k.load(ctx); err != nil {
			return masterKey{}, errors.Join(err, ci.ErrUnavailable)
		}
	}
	return masterKey{}, fmt.Errorf("sealed under master key %s, which %s does not hold: bring that key back: %w", id, k.from, ci.ErrUnavailable)
}

// wanted is the key that the operator put first.
func (k *Keys) wanted(ctx context.Context) (string, error) {
	ring, err := k.load(ctx)
	if err != nil {
		return "", err
	}
	return ring[0].id, nil
}

// grow puts a new key first in our own file, and gives its ID. The old ones stay
// behind it. Servers that share the file take turns.
func (k *Keys) grow(ctx context.Context) (string, error) {
	var raw [keySize]byte
	_, _ = rand.Read(raw[:]) // never fails
	key, err := newMasterKey(raw[:])
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s  # %s, made %s\n", base64.StdEncoding.EncodeToString(raw[:]), key.id, time.Now().UTC().Format(time.RFC3339))
	err = k.rewrite(ctx, func(old []byte) []byte { return append([]byte(line), old...) })
	return key.id, err
}

// drop takes keys out of our own file.
func (k *Keys) drop(ctx context.Context, ids map[string]bool) error {
	return k.rewrite(ctx, func(old []byte) []byte {
		var kept []byte
		for line := range bytes.Lines(old) {
			ring, err := parseKeys(line)
			if err != nil || !ids[ring[0].id] {
				kept = append(kept, line...)
			}
		}
		return kept
	})
}

func (k *Keys) rewrite(ctx context.Context, change func([]byte) []byte) error {
	if k.file == "" {
		return fmt.Errorf("the master key is from %s, where only you can put a new one in front of the old: do so, and ask again: %w", k.from, ci.ErrConflict)
	}
	if err := os.MkdirAll(filepath.Dir(k.file), 0o700); err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	lock, err := os.OpenFile(k.file+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	defer lock.Close()
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("master key: lock: %w", err)
	}
	old, err := k.read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = nil, nil
	}
	if err == nil {
		err = writeFile(k.file, change(old), os.Rename)
	}
	if err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	_, err = k.load(ctx)
	return err
}

// missing says whether the file of our own is not there yet.
func (k *Keys) missing() bool {
	if k.file == "" {
		return false
	}
	_, err := os.Lstat(k.file)
	return errors.Is(err, fs.ErrNotExist)
}

// bound is what a sealed value is bound to: it opens as nothing else.
func bound(v ci.SecretVersion) []byte {
	var b strings.Builder
	for _, part := range []string{"sluice server secret", v.Secret, v.Project, v.Name, fmt.Sprint(v.Number), v.Key} {
		fmt.Fprintf(&b, "%d:%s", len(part), part)
	}
	return []byte(b.String())
}
