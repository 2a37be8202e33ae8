package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
)

// configFile reads the settings in a file; those that do not exist are errors,
// each with its line.
func configFile(name string, lookup func(string) (string, bool)) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("--config: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	values := map[string]string{}
	if len(doc.Content) == 0 {
		return values, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, usagef("%s:%d:%d: want settings, such as 'listen: 127.0.0.1:7700'", name, root.Line, root.Column)
	}
	known := map[string]bool{}
	var names []string
	for _, s := range settings(lookup) {
		known[s.name] = true
		names = append(names, s.name)
	}
	var wrong []error
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := func(n *yaml.Node, format string, args ...any) {
			wrong = append(wrong, fmt.Errorf("%s:%d:%d: "+format, append([]any{name, n.Line, n.Column}, args...)...))
		}
		switch {
		case !known[key.Value]:
			at(key, "there is no setting %q; there are %s", key.Value, strings.Join(names, ", "))
		case value.Kind != yaml.ScalarNode:
			at(value, "%s: want one value", key.Value)
		default:
			values[key.Value] = value.Value
		}
	}
	if len(wrong) > 0 {
		return nil, &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return values, nil
}

// shown is a setting's value without what is secret in it.
func (t told) shown() string {
	if !t.secret {
		return t.value
	}
	u, err := url.Parse(t.value)
	if err != nil {
		return "***"
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "***")
	}
	if q := u.Query(); q.Has("password") {
		q.Set("password", "***")
		u.RawQuery = q.Encode()
	}
	return strings.ReplaceAll(u.String(), "%2A%2A%2A", "***")
}

// showConfig prints the configuration, one setting a line, in the form of the file.
func showConfig(w io.Writer, all []told) error {
	for _, t := range all {
		value, err := yaml.Marshal(t.shown())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s: %s  # %s\n", t.name, strings.TrimSpace(string(value)), t.from); err != nil {
			return err
		}
	}
	return nil
}
