package ci

import (
	"fmt"
	"time"
)

// Project is what builds are started from: a source, a definition in it, and
// what holds for each of its builds unless that build says otherwise.
type Project struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Source      Source            `json:"source"`
	File        string            `json:"file,omitempty"`   // the definition's path in the source; "" = the usual names
	Inline      string            `json:"inline,omitempty"` // the definition itself, instead of a file
	Batch       bool              `json:"batch,omitempty"`
	Runtime     Runtime           `json:"runtime,omitzero"`
	Variables   []Variable        `json:"variables,omitempty"`
	Parameters  []Parameter       `json:"parameters,omitempty"` // what its builds can be given when they are started
	Limits      Limits            `json:"limits,omitzero"`      // queue timeout and builds at once are among them
	Artifacts   string            `json:"artifacts,omitempty"`  // how artifacts are kept: "" = zip, or folder
	After       []string          `json:"after,omitempty"`      // projects: when a build of one succeeds, this one is built
	Badge       bool              `json:"badge,omitempty"`      // the state of its last build may be shown to everybody
	Retention   Retention         `json:"retention,omitzero"`
	Tags        map[string]string `json:"tags,omitempty"`
	Private     bool              `json:"private,omitempty"`       // only those who were given a role in it see it
	Secrets     []string          `json:"secretSources,omitempty"` // further sources of secrets that its builds may use: SecretSources
	BuildRole   Role              `json:"buildRole,omitempty"`     // of its builds, in the project, by a token of their own: viewer or builder; "" = they have none
	Created     time.Time         `json:"created"`
	Updated     time.Time         `json:"updated"`
	Revision    int64             `json:"revision"` // grows with each change; 0 = not stored yet
}

// Lengths of a project's name, CodeBuild's (codebuild.md 4.1).
const (
	minProjectName = 2
	maxProjectName = 150
)

// CheckProjectName refuses what CodeBuild would not take as a project's name.
func CheckProjectName(name string) error {
	if len(name) < minProjectName || len(name) > maxProjectName {
		return fmt.Errorf("project name %.160q has %d characters, want %d to %d: %w", name, len(name), minProjectName, maxProjectName, ErrInvalid)
	}
	for i, c := range name {
		letter := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '-' && c != '_') {
			place := "have"
			if i == 0 {
				place = "begin with"
			}
			return fmt.Errorf("project name %q may not %s %q: want letters A to Z and a to z, digits, and behind the first also '-' and '_': %w", name, place, c, ErrInvalid)
		}
	}
	return nil
}
