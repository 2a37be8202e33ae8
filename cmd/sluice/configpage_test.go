package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCLIPageSettings holds docs/reference/config.md to the table of settings.
func TestCLIPageSettings(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString(`# Settings of the server

This page is made from the table of settings (` + "`go test ./cmd/sluice -run TestCLIPage -update`" + `).

Each setting of ` + "`sluice serve`" + ` is a flag, a variable of the environment, or a line of the YAML file that --config
names; the first of these that says something counts, then the default. ` + "`sluice config`" + ` prints what that comes to, with
where each value is from and what is secret masked. All that is wrong is said at once, with the file and the line.

` + "```" + `yaml
# /etc/sluice.yml, for sluice serve --config /etc/sluice.yml
data: /srv/sluice
listen: 0.0.0.0:7700
` + "```" + `

The commands that work on what a server keeps (` + "`backup`, `restore`, `fsck`" + `) read the same settings.

| flag and line | variable | default | meaning |
|---|---|---|---|
`)
	for _, s := range settings(func(string) (string, bool) { return "", false }) {
		value := s.hint
		if value == "" && s.value != "" {
			value = "`" + s.value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", s.name, s.env, strings.ReplaceAll(value, "|", `\|`), strings.ReplaceAll(s.usage, "|", `\|`))
	}
	file := filepath.Join("..", "..", "docs", "reference", "config.md")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is not what the table of settings says; go test ./cmd/sluice -run TestCLIPage -update makes it anew", file)
	}
}
