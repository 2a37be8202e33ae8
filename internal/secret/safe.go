package secret

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Records keeps what a Safe sealed. What is not there is ci.ErrNotFound; what
// somebody else changed meanwhile is ci.ErrConflict.
type Records interface {
	Secret(ctx context.Context, project, name string) (ci.Secret, error)
	AddSecretVersion(ctx context.Context, s ci.Secret, v ci.SecretVersion) (ci.Secret, error)
	SecretKeys(ctx context.Context) ([]ci.SecretKey, error)
	AddSecretKey(ctx context.Context, id, after string) error
	ForgetSecretKeys(ctx context.Context) error
	SealedOtherwise(ctx context.Context, key, secret string, number int64, limit int) ([]ci.SecretVersion, error)
	Reseal(ctx context.Context, before, after []ci.SecretVersion) error
}

// Safe seals the secrets of a server with AES-256-GCM, each value bound to its
// secret, name, version and key. It is safe from several goroutines, and several
// servers may have one over the same records and the same keys.
type Safe struct {
	records  Records
	keys     *Keys
	rotating sync.Mutex
}

// OpenSafe makes the first master key where there is none and may be one: when
// the records hold values already, a missing key is an error, because a new one
// would not open them.
func OpenSafe(ctx context.Context, r Records, k *Keys) (*Safe, error) {
	s := &Safe{records: r, keys: k}
	known, err := r.SecretKeys(ctx)
	if err != nil {
		return nil, err
	}
	if len(known) > 0 {
		if k.missing() {
			return nil, fmt.Errorf("the database seals secrets under master key %s, and %s is not there: bring it back, or say with --master-key where it is; if it is lost for good, put a new key there (openssl rand -base64 32, mode 0600) and set the secrets anew: %w",
				known[len(known)-1].ID, k.from, ci.ErrUnavailable)
		}
		return s, nil // the key is read when it is needed: a key service that is away is no reason not to start
	}
	var first string
	if k.missing() {
		first, err = k.grow(ctx)
	} else {
		first, err = k.wanted(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := r.AddSecretKey(ctx, first, ""); err != nil && !errors.Is(err, ci.ErrConflict) {
		return nil, err
	}
	return s, nil
}

// Settle goes on with a rotation that was killed, and says what cannot be read.
func (s *Safe) Settle(ctx context.Context) error {
	s.rotating.Lock()
	defer s.rotating.Unlock()
	now, err := s.current(ctx)
	if err == nil {
		_, err = s.reseal(ctx, now)
	}
	return err
}

// currentID names the key that values are sealed with.
func (s *Safe) currentID(ctx context.Context) (string, error) {
	known, err := s.records.SecretKeys(ctx)
	if err == nil && len(known) == 0 {
		err = fmt.Errorf("there is no master key: %w", ci.ErrUnavailable)
	}
	if err != nil {
		return "", err
	}
	return known[len(known)-1].ID, nil
}

func (s *Safe) current(ctx context.Context) (masterKey, error) {
	id, err := s.currentID(ctx)
	if err != nil {
		return masterKey{}, err
	}
	return s.keys.find(ctx, id)
}

// addTries is how often a value is sealed anew because somebody else was faster.
const addTries = 20

// Add seals a value as the next version of a secret, which is made if missing.
func (s *Safe) Add(ctx context.Context, project, name, description, value, by string) (ci.Secret, error) {
	if err := checkValue(name, value); err != nil {
		return ci.Secret{}, err
	}
	for try := 1; ; try++ {
		sec, err := s.records.Secret(ctx, project, name)
		if errors.Is(err, ci.ErrNotFound) {
			sec, err = ci.Secret{ID: rand.Text(), Project: project, Name: name}, nil
		}
		if err != nil {
			return ci.Secret{}, err
		}
		sec.Description = description
		key, err := s.current(ctx)
		if err != nil {
			return ci.Secret{}, err
		}
		v := ci.SecretVersion{Secret: sec.ID, Project: project, Name: name, Number: sec.Version + 1, By: by}
		put, err := s.records.AddSecretVersion(ctx, sec, key.seal(v, value))
		if err == nil || !errors.Is(err, ci.ErrConflict) || try == addTries {
			return put, err
		}
	}
}

func checkValue(name, value string) error {
	if err := ci.CheckSecretName(name); err != nil {
		return err
	}
	switch {
	case value == "":
		return fmt.Errorf("secret %q: the value is empty: %w", name, ci.ErrInvalid)
	case len(value) > maxValue:
		return fmt.Errorf("secret %q: the value has %d bytes, want at most %d: %w", name, len(value), maxValue, ci.ErrInvalid)
	case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
		return fmt.Errorf("secret %q: the value is not text, or holds a NUL byte: keep it in base64: %w", name, ci.ErrInvalid)
	}
	return nil
}

// Open gives the value of a version.
func (s *Safe) Open(ctx context.Context, v ci.SecretVersion) (string, error) {
	key, err := s.keys.find(ctx, v.Key)
	if err == nil {
		var value []byte
		if value, err = key.open(v); err == nil {
			return string(value), nil
		}
	}
	return "", fmt.Errorf("secret %q, version %d: %w", v.Name, v.Number, err)
}

func (k masterKey) seal(v ci.SecretVersion, value string) ci.SecretVersion {
	v.Key = k.id
	v.Sealed = k.aead.Seal(nil, nil, []byte(value), bound(v))
	return v
}

func (k masterKey) open(v ci.SecretVersion) ([]byte, error) {
	value, err := k.aead.Open(nil, nil, v.Sealed, bound(v))
	if err != nil {
		return nil, fmt.Errorf("what is stored is damaged, or was sealed as something else: set it anew: %w", ci.ErrInvalid)
	}
	return value, nil
}

// Rotate seals all values under a new master key: one that is made and put into
// our own file, or the one that the operator put first elsewhere. Killed on the
// way it leaves every value readable, because the old key goes last and only where
// forget says so; without, it stays for backups that were made before.
func (s *Safe) Rotate(ctx context.Context, forget bool) (ci.KeyRotation, error) {
	s.rotating.Lock()
	defer s.rotating.Unlock()
	before, err := s.currentID(ctx)
	if err != nil {
		return ci.KeyRotation{}, err
	}
	next, err := s.keys.wanted(ctx)
	if err == nil && next == before {
		next, err = s.keys.grow(ctx)
	}
	if err == nil {
		err = s.records.AddSecretKey(ctx, next, before)
	}
	if err != nil {
		return ci.KeyRotation{}, err
	}
	now, err := s.keys.find(ctx, next)
	if err != nil {
		return ci.KeyRotation{}, err
	}
	done := ci.KeyRotation{Key: now.id}
	if done.Resealed, err = s.reseal(ctx, now); err != nil {
		return done, err
	}
	if forget {
		if err := s.forget(ctx); err != nil {
			return done, err
		}
	}
	done.Keys, err = s.records.SecretKeys(ctx)
	return done, err
}

// forget drops the keys that nothing is sealed under any more. One that another
// server is just bringing in is not among them.
func (s *Safe) forget(ctx context.Context) error {
	before, err := s.records.SecretKeys(ctx)
	if err == nil {
		err = s.records.ForgetSecretKeys(ctx)
	}
	if err != nil {
		return err
	}
	after, err := s.records.SecretKeys(ctx)
	if err != nil || s.keys.file == "" {
		return err
	}
	gone := map[string]bool{}
	for _, k := range before {
		gone[k.ID] = true
	}
	for _, k := range after {
		delete(gone, k.ID)
	}
	return s.keys.drop(ctx, gone)
}

// resealAtOnce is how many values go into one transaction.
const resealAtOnce = 100

// reseal puts every value under the key. Those that cannot be opened stay as they
// are, and are the error.
func (s *Safe) reseal(ctx context.Context, now masterKey) (n int, err error) {
	var lost error
	for last := (ci.SecretVersion{}); ; {
		some, err := s.records.SealedOtherwise(ctx, now.id, last.Secret, last.Number, resealAtOnce)
		if err != nil || len(some) == 0 {
			return n, errors.Join(err, lost)
		}
		last = some[len(some)-1]
		var before, after []ci.SecretVersion
		for _, v := range some {
			value, err := s.Open(ctx, v)
			if err != nil {
				lost = errors.Join(lost, err)
				continue
			}
			before, after = append(before, v), append(after, now.seal(v, value))
		}
		if len(after) == 0 {
			continue
		}
		if err := s.records.Reseal(ctx, before, after); err != nil {
			return n, err
		}
		n += len(after)
	}
}
