package fileset

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sluice-ci/sluice/internal/ci"
)

// maxAlternatives bounds what braces of one glob expand to.
const maxAlternatives = 1024

// glob is a compiled pattern: one per alternative of its braces, matched a path
// component at a time, so that a walk knows which directories can hold nothing.
type glob struct {
	text  string // as written
	parts []part
	owner int // index of what was written, since braces make several of one
}

// part is one component of a pattern.
type part struct {
	text    string
	literal bool
	deep    bool // "**": any number of components
}

// compile reads a slash path with wildcards. It must be clean: without "." and
// ".." components and without a leading slash.
func compile(text string, owner int) ([]glob, error) {
	if strings.ContainsRune(text, 0) {
		return nil, fmt.Errorf("glob %q: a NUL byte: %w", text, ci.ErrInvalid)
	}
	alternatives, err := braces(text, maxAlternatives)
	if err != nil {
		return nil, fmt.Errorf("glob %q: %w", text, err)
	}
	var out []glob
	for _, alt := range alternatives {
		g := glob{text: text, owner: owner}
		for c := range strings.SplitSeq(alt, "/") {
			switch {
			case c == "" || c == ".":
				continue
			case c == "**":
				if n := len(g.parts); n > 0 && g.parts[n-1].deep {
					continue
				}
				g.parts = append(g.parts, part{deep: true})
			case !strings.ContainsAny(c, `*?[\`):
				g.parts = append(g.parts, part{text: c, literal: true})
			case !doublestar.ValidatePattern(c):
				return nil, fmt.Errorf("glob %q: %q is not a pattern (is a '[' not closed?): %w", text, c, ci.ErrInvalid)
			default:
				g.parts = append(g.parts, part{text: c})
			}
		}
		out = append(out, g)
	}
	return out, nil
}

// braces expands {a,b}; a brace that is not closed stands for itself.
func braces(text string, limit int) ([]string, error) {
	out := []string{text}
	for i := 0; i < len(out); {
		before, options, after, ok := firstBrace(out[i])
		if !ok {
			i++
			continue
		}
		if len(out)+len(options) > limit {
			return nil, fmt.Errorf("its braces stand for more than %d patterns: %w", limit, ci.ErrInvalid)
		}
		var alternatives []string
		for _, o := range options {
			alternatives = append(alternatives, before+o+after)
		}
		out = append(out[:i], append(alternatives, out[i+1:]...)...)
	}
	return out, nil
}

// firstBrace finds the first closed pair of braces that has a comma in it.
func firstBrace(s string) (before string, options []string, after string, ok bool) {
	for open := 0; open < len(s); open++ {
		if s[open] == '\\' {
			open++
			continue
		}
		if s[open] != '{' {
			continue
		}
		depth, start := 0, open+1
		options = nil
		for i := open; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '{':
				depth++
			case ',':
				if depth == 1 {
					options = append(options, s[start:i])
					start = i + 1
				}
			case '}':
				depth--
				if depth == 0 && options != nil {
					return s[:open], append(options, s[start:i]), s[i+1:], true
				}
			}
			if depth == 0 {
				break
			}
		}
	}
	return "", nil, "", false
}

// state is how far each glob has matched on the way to a directory: pairs of a
// glob and the part that comes next.
type state []position

type position struct{ glob, part int }

// everything is the part of a position that matches at any depth from here on.
const everything = -1

// everything adds that all below here belongs to a glob.
func (s state) everything(globs []glob, owner int) state {
	for i, g := range globs {
		if g.owner == owner {
			return append(s[:len(s):len(s)], position{i, everything})
		}
	}
	return s
}

// begin is the state at the base.
func begin(globs []glob) state {
	var s state
	for i := range globs {
		s = s.add(globs, position{i, 0})
	}
	return s
}

// add adds a position and what "**" may pass over.
func (s state) add(globs []glob, p position) state {
	for _, have := range s {
		if have == p {
			return s
		}
	}
	s = append(s, p)
	if parts := globs[p.glob].parts; p.part != everything && p.part < len(parts) && parts[p.part].deep {
		s = s.add(globs, position{p.glob, p.part + 1})
	}
	return s
}

// step is the state below a name.
func (s state) step(globs []glob, name string) state {
	var out state
	for _, p := range s {
		parts := globs[p.glob].parts
		if p.part == everything {
			out = out.add(globs, p)
			continue
		}
		if p.part >= len(parts) {
			continue
		}
		switch part := parts[p.part]; {
		case part.deep:
			out = out.add(globs, p)
		case part.literal && part.text == name:
			out = out.add(globs, position{p.glob, p.part + 1})
		case !part.literal && doublestar.MatchUnvalidated(part.text, name):
			out = out.add(globs, position{p.glob, p.part + 1})
		}
	}
	return out
}

// full lists the globs (by owner) that match here, whole.
func (s state) full(globs []glob, f func(owner int)) {
	for _, p := range s {
		if p.part == everything || p.part == len(globs[p.glob].parts) {
			f(globs[p.glob].owner)
		}
	}
}

func (s state) matches(globs []glob) bool {
	found := false
	s.full(globs, func(int) { found = true })
	return found
}

// all says that every file below matches: some glob goes on with "**" or "**/*".
func (s state) all(globs []glob) bool {
	for _, p := range s {
		if p.part == everything {
			return true
		}
		rest := globs[p.glob].parts[p.part:]
		if len(rest) > 0 && rest[0].deep && (len(rest) == 1 || len(rest) == 2 && rest[1].text == "*" && !rest[1].literal) {
			return true
		}
	}
	return false
}

// names are the only names that can go on from here; ok is false when there may
// be others.
func (s state) names(globs []glob) (names []string, ok bool) {
	for _, p := range s {
		parts := globs[p.glob].parts
		if p.part >= len(parts) {
			continue
		}
		if p.part == everything || !parts[p.part].literal {
			return nil, false
		}
		names = append(names, parts[p.part].text)
	}
	return names, true
}

// clean joins a glob to a base the way paths are, keeping wildcards apart from
// ".." components: a ".." behind a wildcard cannot be resolved in the text.
func clean(base, text string) (string, error) {
	seen := false
	for c := range strings.SplitSeq(text, "/") {
		if c == ".." && seen {
			return "", fmt.Errorf("glob %q: '..' after a wildcard: %w", text, ci.ErrInvalid)
		}
		seen = seen || strings.ContainsAny(c, `*?[{\`)
	}
	return path.Join(base, text), nil
}
