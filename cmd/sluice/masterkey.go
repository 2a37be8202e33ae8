package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/secret"
)

// keySource is where the master key is, as the setting master-key says.
type keySource struct{ kind, rest string }

// parseKeySource reads file:PATH, env:VARIABLE or command:PROGRAM ARGUMENT... A key
// itself is refused, and not shown: a setting may stand on a command line.
func parseKeySource(text string) (keySource, error) {
	kind, rest, found := strings.Cut(text, ":")
	s := keySource{kind, strings.TrimSpace(rest)}
	switch {
	case !found || kind != "file" && kind != "env" && kind != "command":
		return keySource{}, fmt.Errorf("want file:PATH, env:VARIABLE or command:PROGRAM ARGUMENT... (never the key itself)")
	case s.rest == "":
		return keySource{}, fmt.Errorf("%s needs something behind its colon", kind)
	case kind == "env" && checkName(s.rest) != nil:
		return keySource{}, fmt.Errorf("want env: and the name of a variable (never the key itself)")
	case kind == "file":
		abs, err := filepath.Abs(s.rest)
		if err != nil {
			return keySource{}, err
		}
		s.rest = abs
	}
	return s, nil
}

// keys opens the source. A variable is taken out of the environment, so that no
// child of the server inherits it.
func (s keySource) keys() *secret.Keys {
	switch s.kind {
	case "env":
		value, set := os.LookupEnv(s.rest)
		_ = os.Unsetenv(s.rest) // fails for names that checkName refuses
		return secret.KeysFrom("the variable "+s.rest, func(context.Context) ([]byte, error) {
			if !set {
				return nil, fmt.Errorf("it is not set: %w", ci.ErrUnavailable)
			}
			// Several keys stand behind one another, as in a file.
			return []byte(strings.NewReplacer(",", "\n", " ", "\n").Replace(value)), nil
		})
	case "command":
		return secret.KeysFrom("the command "+strings.Fields(s.rest)[0], s.ask)
	}
	return secret.KeyFile(s.rest)
}

// keyPatience is how long the command may take: it asks a key service.
const keyPatience = 30 * time.Second

// ask runs the command, without a shell. What it prints on standard output is the
// key, what it prints on standard error is for people.
func (s keySource) ask(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	words := strings.Fields(s.rest)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it gave no answer within %s", keyPatience)
	}
	text := strings.TrimSpace(said.String())
	if len(text) > 500 {
		text = text[:500] + "..."
	}
	return nil, fmt.Errorf("%w: %s: %w", err, text, ci.ErrUnavailable)
}
