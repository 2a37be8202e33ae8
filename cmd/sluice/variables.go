package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sluice-ci/sluice/internal/ci"
)

// environment is what of the process's surroundings the command line depends on.
type environment struct {
	home     string // state and caches of the user
	terminal bool   // somebody sits in front of standard input and output
	lookup   func(string) (string, bool)
	ask      func(prompt string) (string, error) // without echo; nil = nobody can be asked
}

// variablesOf brings the variables together, later ones over earlier ones: files
// first, then --env, then --secret.
func (f *runFlags) variablesOf(r *request, env environment) error {
	var wrong []error
	index := map[string]int{}
	set := func(v ci.Variable) {
		if i, ok := index[v.Name]; ok {
			r.variables[i] = v
			return
		}
		index[v.Name] = len(r.variables)
		r.variables = append(r.variables, v)
	}
	for _, name := range f.envFiles {
		vars, err := readEnvFile(name, env.lookup)
		if err != nil {
			wrong = append(wrong, err)
		}
		for _, v := range vars {
			set(v)
		}
	}
	for _, text := range f.env {
		v, err := parseVariable(text, env.lookup)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--env %w", err))
			continue
		}
		set(v)
	}
	r.secrets = map[string]string{}
	for _, text := range f.secrets {
		name, value, err := readSecret(text, env)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--secret %w", err))
			continue
		}
		r.secrets[name] = value
		set(ci.Variable{Name: name, Value: name, Kind: ci.LocalSecret})
	}
	return errors.Join(wrong...)
}

// parseVariable reads NAME=VALUE, or NAME for the value that it has here.
func parseVariable(text string, lookup func(string) (string, bool)) (ci.Variable, error) {
	name, value, given := strings.Cut(text, "=")
	if err := checkName(name); err != nil {
		return ci.Variable{}, err
	}
	if !given {
		var ok bool
		if value, ok = lookup(name); !ok {
			return ci.Variable{}, fmt.Errorf("%s: it is not set here; give it as %s=VALUE", name, name)
		}
	}
	if strings.ContainsRune(value, 0) {
		return ci.Variable{}, fmt.Errorf("%s: a value cannot hold a NUL byte", name)
	}
	return ci.Variable{Name: name, Value: value, Kind: ci.Plain}, nil
}

func checkName(name string) error {
	if name == "" {
		return errors.New("without a name: want NAME=VALUE")
	}
	for i, r := range name {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return fmt.Errorf("%q: a variable's name is letters, digits and '_', and begins with no digit", name)
		}
	}
	return nil
}

// readEnvFile reads lines NAME=VALUE; the value is taken as it is, to the end of
// the line. Empty lines and lines that begin with # are skipped.
func readEnvFile(name string, lookup func(string) (string, bool)) ([]ci.Variable, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--env-file: %w", err)
	}
	defer f.Close()
	var vars []ci.Variable
	var wrong []error
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSuffix(lines.Text(), "\r")
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if trimmed := strings.TrimSpace(text); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		v, err := parseVariable(strings.TrimLeft(text, " \t"), lookup)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", name, n, err))
			continue
		}
		vars = append(vars, v)
	}
	if err := lines.Err(); err != nil {
		wrong = append(wrong, fmt.Errorf("--env-file %s: %w", name, err))
	}
	return vars, errors.Join(wrong...)
}

// readSecret takes a secret from where its value does not show in any list of
// processes: the environment, a file, or the keyboard.
func readSecret(text string, env environment) (name, value string, err error) {
	name, from, given := strings.Cut(text, "=")
	if err := checkName(name); err != nil {
		return "", "", err
	}
	switch {
	case given && strings.HasPrefix(from, "@"):
		value, err = readSecretFile(from[1:])
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", name, err)
		}
	case given:
		return "", "", fmt.Errorf("%s: a secret's value must not stand on the command line, where every user of the machine sees it: "+
			"set it in the environment and say --secret %s, or put it into a file and say --secret %s=@FILE", name, name, name)
	default:
		var ok bool
		if value, ok = env.lookup(name); ok {
			break
		}
		if env.ask == nil {
			return "", "", fmt.Errorf("%s: it is not set in the environment, and there is no terminal to ask on: set it, or say --secret %s=@FILE", name, name)
		}
		if value, err = env.ask("Value of " + name + ": "); err != nil {
			return "", "", fmt.Errorf("%s: %w", name, err)
		}
	}
	if value == "" {
		return "", "", fmt.Errorf("%s: its value is empty", name)
	}
	if strings.ContainsRune(value, 0) {
		return "", "", fmt.Errorf("%s: a value cannot hold a NUL byte", name)
	}
	return name, value, nil
}

// readSecretFile reads a file but for the newline that editors put at its end.
func readSecretFile(name string) (string, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// askOn asks on a terminal, without echo.
func askOn(tty *os.File) func(string) (string, error) {
	return func(prompt string) (string, error) {
		fmt.Fprint(os.Stderr, prompt)
		value, err := term.ReadPassword(int(tty.Fd()))
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("read from the terminal: %w", err)
		}
		return string(value), nil
	}
}
