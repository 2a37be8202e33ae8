package runtimes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Selection is what to switch to, dependencies before what needs them.
type Selection struct {
	Runtimes []Selected
	Lines    []string // for the log, in CodeBuild's words; also those before a problem
}

// Selected is one runtime that was picked.
type Selected struct {
	ci.RuntimeVersion          // Version as the image names it
	Commands          []string // that switch to it, for the start of INSTALL
	Note              string   // said when it is not to the letter what was asked for
}

// Commands are all switch commands in order.
func (s Selection) Commands() []string {
	var out []string
	for _, r := range s.Runtimes {
		out = append(out, r.Commands...)
	}
	return out
}

// Versions are what was selected, for ci.Placed.
func (s Selection) Versions() []ci.RuntimeVersion {
	out := make([]ci.RuntimeVersion, 0, len(s.Runtimes))
	for _, r := range s.Runtimes {
		out = append(out, r.RuntimeVersion)
	}
	return out
}

// Select picks the wanted versions from an image's runtimes.yml; see File.Select.
func Select(file []byte, wanted []ci.RuntimeVersion, lookup func(name string) (string, bool)) (Selection, error) {
	f, err := Parse(file)
	if err != nil {
		return Selection{}, err
	}
	return f.Select(wanted, lookup)
}

// Select picks the wanted versions. A version may be exact, "3.x", "latest" or
// the name of a variable ("$RUBY"), which lookup resolves. What cannot be had
// comes back as ci.Problems, all of it at once, positioned at the definition;
// the Selection then still carries its Lines.
func (f *File) Select(wanted []ci.RuntimeVersion, lookup func(name string) (string, bool)) (Selection, error) {
	s := selector{file: f, asked: map[string]ci.RuntimeVersion{}, done: map[string]string{}}
	resolved := make([]ci.RuntimeVersion, 0, len(wanted))
	for _, w := range wanted {
		v, err := variable(w.Version, lookup)
		if err != "" {
			s.fault(w.Pos, "runtime-versions: %s: %s", w.Name, err)
			continue
		}
		w.Version = v
		resolved = append(resolved, w)
		s.asked[w.Name] = w
	}
	for _, w := range resolved {
		s.pick(w, "based on manual selections", nil)
	}
	if len(s.problems) > 0 {
		return Selection{Lines: s.out.Lines}, s.problems
	}
	return s.out, nil
}

// variable resolves a version that is a reference as a whole; any other is itself.
func variable(version string, lookup func(string) (string, bool)) (value, fault string) {
	name, ok := strings.CutPrefix(version, "$")
	if !ok {
		return version, ""
	}
	if inner, ok := strings.CutPrefix(name, "{"); ok {
		name, ok = strings.CutSuffix(inner, "}")
		if !ok {
			return "", fmt.Sprintf("%q lacks its closing brace", version)
		}
	}
	if lookup != nil {
		if v, ok := lookup(name); ok && strings.TrimSpace(v) != "" {
			return strings.TrimSpace(v), ""
		}
	}
	return "", fmt.Sprintf("the variable %s is not set; set it in env.variables or with --env %s=VERSION", name, name)
}

type selector struct {
	file     *File
	asked    map[string]ci.RuntimeVersion // by the definition
	done     map[string]string            // picked: runtime -> version
	out      Selection
	problems ci.Problems
}

func (s *selector) fault(pos ci.Pos, format string, args ...any) {
	s.problems = append(s.problems, ci.Problem{Pos: pos, Severity: ci.Error, Message: fmt.Sprintf(format, args...)})
}

// pick selects one runtime and first what it requires. chain holds the names of
// the runtimes that led here, so that a circle in the image's file ends.
func (s *selector) pick(w ci.RuntimeVersion, why string, chain []string) {
	if _, ok := s.done[w.Name]; ok || slices.Contains(chain, w.Name) {
		return
	}
	s.out.Lines = append(s.out.Lines, fmt.Sprintf("Selecting '%s' runtime version '%s' %s...", w.Name, w.Version, why))
	r := s.file.runtime(w.Name)
	if r == nil {
		s.fault(w.Pos, "Unknown runtime named '%s'. This build image has the following runtimes: %s", w.Name, strings.Join(s.file.names(), ", "))
		return
	}
	v, note, ok := r.match(w.Version)
	if !ok {
		s.fault(w.Pos, "Unknown runtime version named '%s' of %s. This build image has the following versions: %s", w.Version, w.Name, strings.Join(r.names(), ", "))
		return
	}
	if note != "" {
		s.out.Lines = append(s.out.Lines, note)
	}
	for _, req := range v.Requires {
		s.require(w, v.Name, req, append(slices.Clone(chain), w.Name))
	}
	s.done[w.Name] = v.Name
	w.Version = v.Name
	s.out.Runtimes = append(s.out.Runtimes, Selected{RuntimeVersion: w, Commands: v.Commands, Note: note})
}

// require selects a runtime that w needs: the version that the definition asks
// for if it will do, else the first that is there.
func (s *selector) require(w ci.RuntimeVersion, version string, req Requirement, chain []string) {
	other := s.file.runtime(req.Name)
	if asked, ok := s.asked[req.Name]; ok {
		if other != nil && !accepts(other, asked.Version, req.Versions) {
			s.fault(w.Pos, "Conflicting runtime versions: %s '%s' requires %s %s, but '%s' is selected. Change or remove one of the two in runtime-versions",
				w.Name, version, req.Name, quoted(req.Versions), asked.Version)
			return
		}
		s.pick(asked, "based on manual selections", chain)
		return
	}
	if got, ok := s.done[req.Name]; ok {
		if !accepts(other, got, req.Versions) {
			s.fault(w.Pos, "Conflicting runtime versions: %s '%s' requires %s %s, but another runtime requires '%s'", w.Name, version, req.Name, quoted(req.Versions), got)
		}
		return
	}
	candidates := req.Versions
	if len(candidates) == 0 {
		candidates = []string{"latest"}
	}
	for _, candidate := range candidates {
		if other == nil {
			break
		}
		if _, _, ok := other.match(candidate); ok {
			s.pick(ci.RuntimeVersion{Name: req.Name, Version: candidate, Pos: w.Pos}, fmt.Sprintf("as %s '%s' requires it", w.Name, version), chain)
			return
		}
	}
	s.fault(w.Pos, "%s '%s' requires %s %s, which this build image does not have", w.Name, version, req.Name, quoted(candidates))
}

// accepts says whether the wanted version names one of the allowed ones.
func accepts(r *Runtime, wanted string, allowed []string) bool {
	if len(allowed) == 0 {
		return true
	}
	v, _, ok := r.match(wanted)
	if !ok {
		return true // unknown: said once, where it is picked
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		m, _, ok := r.match(a)
		return ok && m.Name == v.Name
	})
}

func quoted(versions []string) string {
	return "'" + strings.Join(versions, "' or '") + "'"
}

// names lists the runtimes, sorted, as CodeBuild's message does.
func (f *File) names() []string {
	out := make([]string, 0, len(f.Runtimes))
	for _, r := range f.Runtimes {
		out = append(out, r.Name)
	}
	slices.Sort(out)
	return out
}
