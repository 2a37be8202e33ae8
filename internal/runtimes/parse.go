// Package runtimes reads the runtimes.yml that a build image carries and picks
// from it what a definition asks for in install.runtime-versions.
//
// It owns the file's format (CodeBuild's, version 0.1) and the rules by which a
// wanted version names one that is there. It does not run the commands, nor does
// it know where the file comes from: an image, or a list of what a host has.
//
// Invariant: a Selection's commands are the image's own text; of the definition
// only a version that has been checked to be plain letters, digits, dots, '_'
// and '-' ever gets into them.
package runtimes

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Path is where an image keeps the file.
const Path = "/codebuild/image/config/runtimes.yml"

// File is a parsed runtimes.yml.
type File struct {
	Runtimes []Runtime // in the order of the text
}

// Runtime is one language or tool and the versions of it that there are.
type Runtime struct {
	Name     string
	Versions []Version // in the order of the text
	Default  *Version  // commands for a version that is not listed; they use $VERSION
}

// Version is one version and how to switch to it.
type Version struct {
	Name     string
	Requires []Requirement
	Commands []string
}

// Requirement is another runtime that must be switched to first.
type Requirement struct {
	Name     string
	Versions []string // any of these
}

// maxSize is far above any real file (the largest known has 10 KB) and keeps a
// hostile image from having us parse a gigabyte.
const maxSize = 1 << 20

// maxDepth bounds aliases that lead into themselves.
const maxDepth = 16

// Parse reads a runtimes.yml. What is wrong with it wraps ci.ErrInvalid.
func Parse(text []byte) (*File, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("runtimes.yml: %d bytes, at most %d are read: %w", len(text), maxSize, ci.ErrInvalid)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("runtimes.yml: %w: %w", err, ci.ErrInvalid)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("runtimes.yml: empty; want a map with version and runtimes: %w", ci.ErrInvalid)
	}
	p := parser{}
	f := &File{}
	p.entries(doc.Content[0], "runtimes.yml", 0, func(key string, v *yaml.Node) {
		switch key {
		case "version":
			if v.Value != "0.1" {
				p.fault(v, "version %q is not known; want 0.1", v.Value)
			}
		case "runtimes":
			p.entries(v, "runtimes", 1, func(name string, r *yaml.Node) {
				f.Runtimes = append(f.Runtimes, p.runtime(name, r))
			})
		}
	})
	if p.err != nil {
		return nil, p.err
	}
	return f, nil
}

// parser keeps the first fault; the file is the image's, not the user's, so one
// is enough to say that the image is broken and where.
type parser struct{ err error }

func (p *parser) fault(n *yaml.Node, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("runtimes.yml:%d: %s: %w", n.Line, fmt.Sprintf(format, args...), ci.ErrInvalid)
	}
}

// resolve follows aliases to what they stand for.
func (p *parser) resolve(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && n.Alias != nil; i++ {
		if i > maxDepth {
			p.fault(n, "alias leads into itself")
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line}
		}
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// entries visits a map's entries; null is an empty map.
func (p *parser) entries(n *yaml.Node, what string, depth int, visit func(key string, value *yaml.Node)) {
	n = p.resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode || depth > maxDepth {
		p.fault(n, "%s: want a map", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && p.err == nil; i += 2 {
		k := p.resolve(n.Content[i])
		if k.Kind != yaml.ScalarNode || k.Value == "" {
			p.fault(n.Content[i], "%s: want a name as key", what)
			return
		}
		if seen[k.Value] {
			p.fault(k, "%s: %q is there twice", what, k.Value)
			return
		}
		seen[k.Value] = true
		visit(k.Value, p.resolve(n.Content[i+1]))
	}
}

func (p *parser) runtime(name string, n *yaml.Node) Runtime {
	r := Runtime{Name: name}
	add := func(key string, v *yaml.Node) {
		version := p.version(name, key, v)
		if key == "default" {
			r.Default = &version
			return
		}
		r.Versions = append(r.Versions, version)
	}
	p.entries(n, name, 2, func(key string, v *yaml.Node) {
		switch key {
		case "versions":
			p.entries(v, name+".versions", 3, add)
		case "default":
			add(key, v)
		}
	})
	return r
}

func (p *parser) version(runtime, name string, n *yaml.Node) Version {
	v := Version{Name: name}
	where := runtime + "." + name
	p.entries(n, where, 4, func(key string, value *yaml.Node) {
		switch key {
		case "commands":
			v.Commands = p.strings(value, where+".commands")
		case "requires":
			p.entries(value, where+".requires", 5, func(other string, versions *yaml.Node) {
				v.Requires = append(v.Requires, Requirement{Name: other, Versions: p.strings(versions, where+".requires")})
			})
		}
	})
	return v
}

// strings reads a list of scalars, or one scalar, by their text: 3.10 stays "3.10".
func (p *parser) strings(n *yaml.Node, what string) []string {
	n = p.resolve(n)
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}
	case n.Kind != yaml.SequenceNode:
		p.fault(n, "%s: want a list of strings", what)
		return nil
	}
	out := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		item = p.resolve(item)
		if item.Kind != yaml.ScalarNode {
			p.fault(item, "%s: want a string", what)
			return nil
		}
		if strings.TrimSpace(item.Value) != "" {
			out = append(out, item.Value)
		}
	}
	return out
}

// runtime finds a runtime by name; nil when there is none.
func (f *File) runtime(name string) *Runtime {
	for i := range f.Runtimes {
		if f.Runtimes[i].Name == name {
			return &f.Runtimes[i]
		}
	}
	return nil
}
