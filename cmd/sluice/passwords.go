package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// passwords looks up the parameters of a build that are sealed in its record.
type passwords struct {
	ci.SecretSource // of all else
	project         string
	unseal          func(ctx context.Context, name, sealed string) (string, error)
}

// Lookup is ci.SecretSource's.
func (p passwords) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	if kind != ci.LocalSecret {
		return p.SecretSource.Lookup(ctx, kind, ref)
	}
	name, sealed, ok := strings.Cut(ref, ":")
	if !ok {
		return "", fmt.Errorf("secret %q was not given to the build: %w", ref, ci.ErrNotFound)
	}
	value, err := p.unseal(ctx, ci.SealName(p.project, name), sealed)
	if err != nil {
		return "", fmt.Errorf("parameter %s cannot be opened (is the master key still the same?): %w", name, err)
	}
	return value, nil
}

// parametersNamed reads NAME=VALUE, NAME=@FILE, or NAME for the value that it has here.
func parametersNamed(texts []string) (map[string]string, error) {
	var wrong []error
	values := map[string]string{}
	for _, text := range texts {
		name, value, given := strings.Cut(text, "=")
		path, isFile := strings.CutPrefix(value, "@")
		switch _, twice := values[name]; {
		case name == "":
			wrong = append(wrong, fmt.Errorf("--param %q: want NAME=VALUE, NAME=@FILE, or NAME", text))
			continue
		case twice:
			wrong = append(wrong, fmt.Errorf("--param %s is given twice", name))
			continue
		case !given:
			if value, given = os.LookupEnv(name); !given {
				wrong = append(wrong, fmt.Errorf("--param %s: the environment has no %s: give --param %s=VALUE", name, name, name))
				continue
			}
		case isFile:
			content, err := os.ReadFile(path)
			if err != nil {
				wrong = append(wrong, fmt.Errorf("--param %s: %w", name, err))
				continue
			}
			value = strings.TrimSuffix(string(content), "\n")
		}
		values[name] = value
	}
	return values, errors.Join(wrong...)
}
