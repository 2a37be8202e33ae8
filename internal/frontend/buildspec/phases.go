package buildspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// phase is one of the four phases, read.
type phase struct {
	plan ci.PhasePlan
	node *yaml.Node // nil when the file leaves it out
}

// phaseNames in the order they run.
var phaseNames = []string{"install", "pre_build", "build", "post_build"}

func (s *spec) readPhases(r *reader, n *yaml.Node) {
	s.phases = []phase{
		{plan: ci.PhasePlan{Phase: ci.PhaseInstall}},
		{plan: ci.PhasePlan{Phase: ci.PhasePreBuild}},
		{plan: ci.PhasePlan{Phase: ci.PhaseBuild}},
		{plan: ci.PhasePlan{Phase: ci.PhasePostBuild}},
	}
	fs, ok := r.fields(n, "phases")
	if ok && len(fs) == 0 {
		r.errorf(n, "phases is empty: expected at least one of %s", strings.Join(phaseNames, ", "))
	}
	for _, f := range fs {
		i := slices.Index(phaseNames, f.name)
		if i < 0 {
			r.wrongPhase(f)
			continue
		}
		s.readPhase(r, f.value, f.name, &s.phases[i])
	}
}

// wrongPhase refuses as CodeBuild does; a phase that is skipped in silence would be worse.
func (r *reader) wrongPhase(f field) {
	hint := "remove it"
	if meant := nearest(f.name, phaseNames); meant != "" {
		hint = "did you mean " + meant + "?"
	} else if slices.Contains(topLevel, f.name) {
		hint = f.name + " belongs at the top level: indent it like phases"
	} else if slices.Contains([]string{"commands", "finally", "runtime-versions", "on-failure"}, f.name) {
		hint = f.name + " belongs inside a phase: indent it further"
	} else if f.name == "deploy" || f.name == "test" {
		hint = "move its commands to build or post_build"
	}
	r.errorf(f.key, "Invalid buildspec phase name: %s. Expecting: build,install,post_build,pre_build: %s", f.name, hint)
}

func (s *spec) readPhase(r *reader, n *yaml.Node, name string, p *phase) {
	where := "phases." + name
	p.node = n
	keys := []key{
		{name: "commands", read: func(v *yaml.Node) { p.plan.Steps = r.steps(v, where, "Commands") }},
		{name: "run-as", read: func(v *yaml.Node) { p.plan.User = r.user(v, where+".run-as", s.old) }},
		{name: "on-failure", read: func(v *yaml.Node) { p.plan.OnFailure = r.onFailure(v, where, s.old) }},
		{name: "finally", read: func(v *yaml.Node) {
			p.plan.Finally = r.steps(v, where, "Finally")
			if s.old {
				r.warnf(v, "%s.finally has no effect in version 0.1: use version: 0.2", where)
				p.plan.Finally = nil
			}
		}},
		{name: "steps", read: func(v *yaml.Node) {
			r.errorf(v, "%s.steps: GitHub Actions steps are not supported in a buildspec: write each run: as an item of commands", where)
		}},
		{name: "runtime-versions", read: func(v *yaml.Node) {
			if name != "install" {
				r.warnf(v, "%s.runtime-versions has no effect: it belongs to the install phase", where)
				return
			}
			s.versions = r.runtimeVersions(v)
		}},
	}
	fs, ok := r.fields(n, where)
	if !ok {
		return
	}
	// A phase without commands is harmless, and real files have it with all its
	// lines commented out; a misspelled "commands" is not harmless.
	written := has(fs, "commands") || has(fs, "steps")
	typo := !written && slices.ContainsFunc(fs, func(f field) bool { return nearest(f.name, []string{"commands"}) != "" })
	keys[0].required = typo
	r.mapping(n, where, keys...)
	if name != "install" && !written && !typo && len(p.plan.Finally) == 0 {
		r.warnf(n, "%s has no commands, so the phase does nothing", where)
	}
}

// steps reads a list of commands. One block of text is one command.
func (r *reader) steps(n *yaml.Node, where, title string) []ci.Step {
	v := r.resolve(n)
	switch {
	case v.Kind == yaml.ScalarNode:
		text := r.text(n, where)
		if strings.TrimSpace(text) == "" {
			r.warnf(n, "%s.%s is empty, so nothing is run", where, strings.ToLower(title))
			return nil
		}
		return []ci.Step{{Run: text, Pos: r.pos(n)}}
	case v.Kind != yaml.SequenceNode:
		r.errorf(n, "%s.%s: expected a list of commands (- command), found %s: put \"- \" before each command", where, strings.ToLower(title), kindName(v))
		return nil
	}
	var out []ci.Step
	for i, c := range v.Content {
		if step, ok := r.step(c, fmt.Sprintf("%s[%d]", title, i)); ok {
			out = append(out, step)
		}
	}
	return out
}

// step reads one command, with CodeBuild's words for what people get wrong.
func (r *reader) step(n *yaml.Node, title string) (ci.Step, bool) {
	v := r.resolve(n)
	switch v.Kind {
	case yaml.ScalarNode:
		text := r.text(n, title)
		if strings.TrimSpace(text) == "" {
			r.warnf(n, "%s is empty, so nothing is run for it", title)
			return ci.Step{}, false
		}
		return ci.Step{Run: text, Pos: r.pos(n)}, true
	case yaml.SequenceNode:
		r.errorf(n, "Expected %s to be of string type: found a list instead at line %d: YAML reads a text that begins with [ or \"- \" as a list; put the whole command in quotes", title, n.Line)
	default:
		hint := `YAML reads ": " in a command as a key; put the whole command in quotes, or write it below "- |"`
		if isBraces(v) {
			hint = "{{ }} belongs to a template; render it first, or put the whole command in quotes"
		} else if v.Style&yaml.FlowStyle != 0 {
			hint = "YAML reads a text that begins with { as a mapping; put the whole command in quotes"
		}
		r.errorf(n, "Expected %s to be of string type: found subkeys instead at line %d, value of the key tag on line %d might be empty: %s", title, n.Line, max(1, n.Line-1), hint)
	}
	return ci.Step{}, false
}

// runtimeVersions keeps each version as it is written.
func (r *reader) runtimeVersions(n *yaml.Node) []ci.RuntimeVersion {
	const where = "phases.install.runtime-versions"
	fs, _ := r.fields(n, where)
	var out []ci.RuntimeVersion
	for _, f := range fs {
		version := strings.TrimSpace(r.text(f.value, where+"."+f.name))
		if version == "" {
			if r.resolve(f.value).Kind == yaml.ScalarNode {
				r.errorf(f.key, "%s.%s: expected a version such as 18, 3.12 or latest, found nothing", where, f.name)
			}
			continue
		}
		out = append(out, ci.RuntimeVersion{Name: f.name, Version: version, Pos: r.pos(f.key)})
	}
	return out
}
