package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func FuzzParseKeys(f *testing.F) {
	key := base64.StdEncoding.EncodeToString(make([]byte, keySize))
	for _, s := range []string{"", key, key + "\n" + key, "# x\n" + key + " # y\r\n", key[:20], strings.Repeat(key+"\n", 101)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ring, err := parseKeys(text)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) || ring != nil || len(err.Error()) > 200 {
				t.Fatalf("got %v, %v", ring, err)
			}
			return
		}
		if len(ring) == 0 || len(ring) > maxKeys || len(ring) > bytes.Count(text, []byte("\n"))+1 {
			t.Fatalf("%d keys of %q", len(ring), text)
		}
		v := ci.SecretVersion{Secret: "s", Name: "n", Number: 1}
		if got, err := ring[0].open(ring[0].seal(v, "value")); string(got) != "value" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

// FuzzResolve holds that only names are asked for which a server's secret can have.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"/a", "/a:3", "/a:x", "a:k:AWSPREVIOUS", "a:::2", "arn:aws:ssm:r:1:parameter/a", "arn:aws:secretsmanager:r:1:secret:a-abcdef:k::", ":", "::::", "#identity"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, ref string, parameter bool) {
		kind := ci.SecretsManager
		if parameter {
			kind = ci.ParameterStore
		}
		_, err := Resolve(kind, ref, func(name string, w Wanted) (string, error) {
			if ci.CheckSecretName(name) != nil || w.Number < 0 || w.Back < 0 || w.Number > 0 && w.Back > 0 {
				t.Fatalf("%q asks for %q, %+v", ref, name, w)
			}
			return `{"k":"v"}`, nil
		})
		if err != nil && !errors.Is(err, ci.ErrInvalid) && !errors.Is(err, ci.ErrNotFound) {
			t.Fatalf("%q: got %v", ref, err)
		}
	})
}
