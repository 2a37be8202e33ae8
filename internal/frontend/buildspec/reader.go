package buildspec

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// maxCost bounds what one file may unfold to through aliases, in characters.
const maxCost = 16 << 20

// reader reads one file's nodes into typed values. It never stops at a mistake:
// it notes it and goes on with the zero value.
type reader struct {
	*notes
	path   string
	widths []int
	cost   int
}

// key is one known key of a mapping.
type key struct {
	name     string
	read     func(*yaml.Node)
	required bool
	missing  string // what to say when it is required and not there
}

// field is one entry of a mapping, in document order, merge keys resolved.
type field struct {
	name  string
	key   *yaml.Node
	value *yaml.Node
}

func (r *reader) pos(n *yaml.Node) ci.Pos {
	return clamp(ci.Pos{File: r.path, Line: n.Line, Col: n.Column}, r.widths)
}

func (r *reader) errorf(n *yaml.Node, format string, args ...any) {
	r.add(r.pos(n), ci.Error, fmt.Sprintf(format, args...))
}

func (r *reader) warnf(n *yaml.Node, format string, args ...any) {
	r.add(r.pos(n), ci.Warning, fmt.Sprintf(format, args...))
}

// resolve follows an alias and counts what was read. A file that unfolds beyond
// all measure reads as empty from there on.
func (r *reader) resolve(n *yaml.Node) *yaml.Node {
	target := n
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		target = n.Alias
	}
	over := r.cost > maxCost
	r.cost += 8 + len(target.Value)
	if r.cost <= maxCost {
		return target
	}
	if !over {
		r.errorf(n, "the aliases of this file unfold to more than %d characters: write it with fewer aliases", maxCost)
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
}

// isNull says whether there is nothing: "key:", "key: null" or "key: ~".
func (r *reader) isNull(n *yaml.Node) bool {
	n = r.resolve(n)
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping (key: value)"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return "the text " + quote(n.Value)
}

// quote shows a text in a message, short and on one line.
func quote(s string) string {
	if runes := []rune(s); len(runes) > 40 {
		s = string(runes[:37]) + "..."
	}
	return strconv.Quote(s)
}

// fields lists a mapping's entries; none for null. The second result is false
// for anything else, which is noted.
func (r *reader) fields(n *yaml.Node, where string) ([]field, bool) {
	m := r.resolve(n)
	if m.Kind == yaml.ScalarNode && m.Tag == "!!null" {
		return nil, true
	}
	if m.Kind != yaml.MappingNode {
		r.errorf(n, "%s: expected a mapping (key: value), found %s", where, kindName(m))
		return nil, false
	}
	var own, merged []field
	at := map[string]int{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := r.resolve(m.Content[i]), m.Content[i+1]
		switch {
		case k.Tag == "!!merge":
			merged = append(merged, r.merge(v, []*yaml.Node{m}, where)...)
		case k.Kind != yaml.ScalarNode:
			hint := "put it in quotes"
			if k.Kind == yaml.MappingNode && k.Style&yaml.FlowStyle != 0 {
				hint = "{{ }} belongs to a template; render it first, or put the text in quotes"
			}
			r.errorf(m.Content[i], "%s: a key must be a text, found %s: %s", where, kindName(k), hint)
		case strings.ContainsRune(k.Value, 0):
			r.errorf(m.Content[i], "%s: the key %s holds a NUL character: remove it", where, quote(k.Value))
		default:
			if first, ok := at[k.Value]; ok {
				r.duplicate(m.Content[i], own[first], v, where)
				own[first].value = v
				continue
			}
			at[k.Value] = len(own)
			own = append(own, field{k.Value, m.Content[i], v})
		}
	}
	for _, f := range merged {
		if _, ok := at[f.name]; !ok {
			at[f.name] = len(own)
			own = append(own, f)
		}
	}
	return own, true
}

func has(fs []field, name string) bool {
	return slices.ContainsFunc(fs, func(f field) bool { return f.name == name })
}

// duplicate notes a key that is written twice. The same text twice does no harm.
func (r *reader) duplicate(k *yaml.Node, first field, v *yaml.Node, where string) {
	a, b := r.resolve(first.value), r.resolve(v)
	if a.Kind == yaml.ScalarNode && b.Kind == yaml.ScalarNode && a.Value == b.Value && a.Tag == b.Tag {
		r.warnf(k, "%s: key %s is written twice with the same value: remove one (the first is at line %d)", where, quote(first.name), first.key.Line)
		return
	}
	r.errorf(k, "%s: key %s is already defined at line %d: keep one of them", where, quote(first.name), first.key.Line)
}

// merge reads the value of "<<": a mapping, an alias of one, or a list of these.
func (r *reader) merge(n *yaml.Node, inside []*yaml.Node, where string) []field {
	m := r.resolve(n)
	switch {
	case slices.Contains(inside, m) || len(inside) > 20:
		r.errorf(n, "%s: the merge key << refers to itself", where)
		return nil
	case m.Kind == yaml.SequenceNode:
		var out []field
		for _, c := range m.Content {
			out = append(out, r.merge(c, append(slices.Clone(inside), m), where)...)
		}
		return out
	case m.Kind != yaml.MappingNode:
		if m.Tag != "!!null" {
			r.errorf(n, "%s: << merges mappings, found %s", where, kindName(m))
		}
		return nil
	}
	var out, deeper []field
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := r.resolve(m.Content[i]), m.Content[i+1]
		if k.Tag == "!!merge" {
			deeper = append(deeper, r.merge(v, append(slices.Clone(inside), m), where)...)
		} else if k.Kind == yaml.ScalarNode {
			r.cost += 128 // it is copied at every level
			out = append(out, field{k.Value, m.Content[i], v})
		}
	}
	return append(out, deeper...)
}

// mapping reads the known keys of a mapping and warns of the others. It says
// which keys are there with a value.
func (r *reader) mapping(n *yaml.Node, where string, keys ...key) map[string]*yaml.Node {
	fs, ok := r.fields(n, where)
	if !ok {
		return nil
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	have := map[string]*yaml.Node{}
	var unknown []field
	for _, f := range fs {
		i := slices.Index(names, f.name)
		if i < 0 {
			unknown = append(unknown, f)
			continue
		}
		if !r.isNull(f.value) {
			have[f.name] = f.value
		}
		keys[i].read(f.value)
	}
	missing := map[string]bool{}
	for _, k := range keys {
		if k.required && have[k.name] == nil {
			missing[k.name] = true
		}
	}
	for _, f := range unknown {
		r.unknown(f, where, names, missing)
	}
	for _, k := range keys {
		if missing[k.name] {
			r.errorf(n, "%s", cmp.Or(k.missing, where+": "+k.name+" is missing: it is required"))
		}
	}
	return have
}

// unknown warns of a key that nothing reads. It is an error when it was
// probably meant to be one that must be there; that one is then not missed twice.
func (r *reader) unknown(f field, where string, names []string, missing map[string]bool) {
	if holdsAnchor(f.value, 0) {
		return // a place for anchors that others use
	}
	if r.full(ci.Warning) && len(missing) == 0 {
		return
	}
	meant := nearest(f.name, names)
	switch {
	case meant == "":
		r.warnf(f.key, "%s: unknown key %s has no effect; known here: %s", where, quote(f.name), strings.Join(names, ", "))
	case missing[meant]:
		delete(missing, meant)
		r.errorf(f.key, "%s: unknown key %s: did you mean %s, which is required?", where, quote(f.name), meant)
	default:
		r.warnf(f.key, "%s: unknown key %s has no effect: did you mean %s?", where, quote(f.name), meant)
	}
}

func holdsAnchor(n *yaml.Node, depth int) bool {
	if n.Anchor != "" && n.Kind != yaml.AliasNode {
		return true
	}
	return depth < 20 && slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return holdsAnchor(c, depth+1) })
}
