package secret

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Seal seals a value that is kept elsewhere in the database, under the current
// master key and a name: it opens under that name only. The text begins with the
// ID of the key and a dot, by which ForgetSecretKeys sees that the key is needed.
func (s *Safe) Seal(ctx context.Context, name, value string) (string, error) {
	key, err := s.current(ctx)
	if err != nil {
		return "", fmt.Errorf("seal %s: %w", name, err)
	}
	v := key.seal(elsewhere(name), value)
	return v.Key + "." + base64.RawStdEncoding.EncodeToString(v.Sealed), nil
}

// Unseal opens what Seal made.
func (s *Safe) Unseal(ctx context.Context, name, text string) (string, error) {
	id, sealed, _ := strings.Cut(text, ".")
	v := elsewhere(name)
	var err error
	if v.Sealed, err = base64.RawStdEncoding.DecodeString(sealed); err != nil {
		return "", fmt.Errorf("%s: what is stored is damaged: set it anew: %w", name, ci.ErrInvalid)
	}
	v.Key = id
	key, err := s.keys.find(ctx, id)
	if err == nil {
		var value []byte
		if value, err = key.open(v); err == nil {
			return string(value), nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, err)
}

// elsewhere is what such a value is bound to: no secret has number 0.
func elsewhere(name string) ci.SecretVersion { return ci.SecretVersion{Name: name} }
