package secret

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Given is values by name, as from a command line. A name is that of the
// variable's secret, of a parameter, or of a managed secret.
type Given map[string]string

var _ ci.SecretSource = Given(nil)

// Lookup answers from the map.
func (g Given) Lookup(_ context.Context, kind ci.VariableKind, ref string) (string, error) {
	return lookUp(kind, ref, func(name string) (string, error) {
		if v, ok := g[name]; ok {
			return v, nil
		}
		return "", ci.ErrNotFound
	})
}

// Chained asks several sources and remembers what they said. Make one for each
// build: a value does not change while the build runs, and is forgotten after it.
type Chained struct {
	sources []ci.SecretSource
	mu      sync.Mutex
	known   map[key]*answer
}

type key struct {
	kind ci.VariableKind
	ref  string
}

type answer struct {
	mu    sync.Mutex // held while asking
	value string
	ok    bool
}

var _ ci.SecretSource = (*Chained)(nil)

// Chain asks the sources in order; the first that knows a secret answers for it.
func Chain(sources ...ci.SecretSource) *Chained {
	return &Chained{sources: sources, known: map[key]*answer{}}
}

// Lookup asks each source until one has the secret. Any answer but "not found"
// and "cannot be asked" is final. Several lookups of one secret ask once.
func (c *Chained) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	c.mu.Lock()
	a := c.known[key{kind, ref}]
	if a == nil {
		a = &answer{}
		c.known[key{kind, ref}] = a
	}
	c.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ok {
		return a.value, nil
	}
	value, err := c.ask(ctx, kind, ref)
	if err == nil {
		a.value, a.ok = value, true
	}
	return value, err
}

func (c *Chained) ask(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	var unknown, silent error // who does not know it, who could not be asked
	for _, s := range c.sources {
		value, err := s.Lookup(ctx, kind, ref)
		switch {
		case err == nil:
			return value, nil
		case errors.Is(err, ci.ErrNotFound):
			unknown = err
		case errors.Is(err, ci.ErrUnavailable):
			silent = err
		default:
			return "", err
		}
	}
	if silent != nil {
		return "", fmt.Errorf("secret %q is not given or kept here, and elsewhere could not be asked: %w", ref, silent)
	}
	if unknown == nil {
		unknown = fmt.Errorf("secret %q: %w", ref, ci.ErrNotFound)
	}
	return "", fmt.Errorf("%w; give it with --secret, or check its name", unknown)
}
