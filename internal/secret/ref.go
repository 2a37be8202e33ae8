// Package secret looks up the values of secret variables: given on the command
// line, kept on this machine, or in AWS.
//
// It owns the local store and its master key, and how references are read. It
// does not own masking (logs does) nor who may use what.
//
// Invariant: a value leaves it as the result of a lookup and in no other way:
// never in an error, a log or a file that is not sealed.
package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// ManagedRef is a Secrets Manager reference, id:json-key:version-stage:version-id.
type ManagedRef struct {
	ID      string // name or ARN
	JSONKey string // "" = the whole value
	Stage   string
	Version string
}

// ParseManagedRef splits a Secrets Manager reference. The six colons of an ARN
// belong to the ID.
func ParseManagedRef(ref string) (ManagedRef, error) {
	bad := func(why string) (ManagedRef, error) {
		return ManagedRef{}, fmt.Errorf("secrets-manager reference %q: %s: %w", ref, why, ci.ErrInvalid)
	}
	parts := strings.Split(ref, ":")
	n := 1
	if parts[0] == "arn" {
		if n = 7; len(parts) < n || parts[2] != "secretsmanager" || parts[5] != "secret" {
			return bad("want arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
		}
	}
	r := ManagedRef{ID: strings.Join(parts[:n], ":")}
	rest := parts[n:]
	if len(rest) > 3 {
		return bad("want secret-id:json-key:version-stage:version-id")
	}
	for i, to := range []*string{&r.JSONKey, &r.Stage, &r.Version} {
		if i < len(rest) {
			*to = rest[i]
		}
	}
	switch {
	case r.ID == "" || parts[n-1] == "":
		return bad("it names no secret")
	case r.Stage != "" && r.Version != "":
		return bad("give a version stage or a version id, not both")
	}
	return r, nil
}

// localNames are the names under which a managed secret may be kept here: as
// written, and without the ARN and the six characters that AWS adds.
func (r ManagedRef) localNames() []string {
	names := []string{r.ID}
	if !strings.HasPrefix(r.ID, "arn:") {
		return names
	}
	name := strings.SplitN(r.ID, ":", 7)[6]
	names = append(names, name)
	if i := len(name) - 7; i > 0 && name[i] == '-' {
		names = append(names, name[:i])
	}
	return names
}

// parameterNames are the names under which a parameter may be kept here. An ARN
// does not tell whether its name begins with a slash.
func parameterNames(ref string) []string {
	names := []string{ref}
	if parts := strings.SplitN(ref, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		if name, ok := strings.CutPrefix(parts[5], "parameter/"); ok {
			names = append(names, "/"+name, name)
		}
	}
	return names
}

// pick takes one key of a JSON value. The errors say nothing of the value.
func pick(value, key string) (string, error) {
	if key == "" {
		return value, nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &object) != nil {
		return "", fmt.Errorf("JSON key %q is asked for, but the secret is not a JSON object: %w", key, ci.ErrInvalid)
	}
	raw, ok := object[key]
	if !ok {
		return "", fmt.Errorf("the secret has no JSON key %q: %w", key, ci.ErrNotFound)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	return string(raw), nil
}

// lookUp answers a reference of any kind from a set of named values. get fails
// with ErrNotFound for a name that is not there.
func lookUp(kind ci.VariableKind, ref string, get func(name string) (string, error)) (string, error) {
	first := func(names []string) (string, error) {
		for _, n := range names {
			if v, err := get(n); !errors.Is(err, ci.ErrNotFound) {
				return v, err
			}
		}
		return "", fmt.Errorf("secret %q: %w", ref, ci.ErrNotFound)
	}
	switch kind {
	case ci.LocalSecret:
		return first([]string{ref})
	case ci.ParameterStore:
		return first(parameterNames(ref))
	case ci.SecretsManager:
		if v, err := get(ref); !errors.Is(err, ci.ErrNotFound) {
			return v, err // given under the whole reference
		}
		r, err := ParseManagedRef(ref)
		if err != nil {
			return "", err
		}
		if r.Version != "" || r.Stage != "" && r.Stage != "AWSCURRENT" {
			return "", fmt.Errorf("secret %q: only the current version is kept here: %w", ref, ci.ErrNotFound)
		}
		v, err := first(r.localNames())
		if err != nil {
			return "", err
		}
		if v, err = pick(v, r.JSONKey); err != nil {
			return "", fmt.Errorf("secret %q: %w", ref, err)
		}
		return v, nil
	}
	return "", fmt.Errorf("secret %q: a variable of kind %q is not looked up: %w", ref, kind, ci.ErrInvalid)
}

// Wanted is which version of a secret is meant; zero = the newest.
type Wanted struct {
	Number int64 // this one
	Back   int64 // the one that many before the newest
}

// Resolve answers a reference as a definition writes it from secrets that have
// numbered versions: NAME or NAME:NUMBER of a parameter, and
// NAME:json-key:version-stage:version-id of a managed secret, whose stages are
// AWSCURRENT and AWSPREVIOUS and whose version ids are the numbers. get fails with
// ErrNotFound for what is not there.
func Resolve(kind ci.VariableKind, ref string, get func(name string, w Wanted) (string, error)) (string, error) {
	first := func(names []string, w Wanted) (string, error) {
		for _, n := range names {
			if ci.CheckSecretName(n) != nil {
				continue
			}
			if v, err := get(n, w); !errors.Is(err, ci.ErrNotFound) {
				return v, err
			}
		}
		return "", fmt.Errorf("secret %q: %w", ref, ci.ErrNotFound)
	}
	switch kind {
	case ci.ParameterStore:
		name, w := ref, Wanted{}
		if i := strings.LastIndexByte(ref, ':'); i >= 0 {
			if n, err := strconv.ParseInt(ref[i+1:], 10, 64); err == nil && n > 0 {
				name, w.Number = ref[:i], n
			}
		}
		return first(parameterNames(name), w)
	case ci.SecretsManager:
		r, err := ParseManagedRef(ref)
		if err != nil {
			return "", err
		}
		w := Wanted{}
		switch {
		case r.Version != "":
			if w.Number, err = strconv.ParseInt(r.Version, 10, 64); err != nil || w.Number < 1 {
				return "", fmt.Errorf("secret %q: %q is not the number of a version: %w", ref, r.Version, ci.ErrNotFound)
			}
		case r.Stage == "AWSPREVIOUS":
			w.Back = 1
		case r.Stage != "" && r.Stage != "AWSCURRENT":
			return "", fmt.Errorf("secret %q: there are the stages AWSCURRENT and AWSPREVIOUS: %w", ref, ci.ErrNotFound)
		}
		v, err := first(r.localNames(), w)
		if err != nil {
			return "", err
		}
		if v, err = pick(v, r.JSONKey); err != nil {
			return "", fmt.Errorf("secret %q: %w", ref, err)
		}
		return v, nil
	}
	return "", fmt.Errorf("secret %q: a variable of kind %q is not looked up: %w", ref, kind, ci.ErrInvalid)
}
