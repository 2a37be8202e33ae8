package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// credentialHelper runs docker-credential-NAME, as docker itself does. The name
// comes from the user's own Docker configuration; the rest goes by standard input.
func credentialHelper(ctx context.Context, name, verb, input string) ([]byte, error) {
	if name == "" || strings.ContainsAny(name, "/\\") {
		return nil, fmt.Errorf("credential helper %q: a name is wanted, not a path", name)
	}
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, verb)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("credential helper %s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
