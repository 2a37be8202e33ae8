package buildspec

import (
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v4"
)

// text reads a scalar exactly as it is written: 3.10 stays "3.10", true stays
// "true". Null reads as "".
func (r *reader) text(n *yaml.Node, where string) string {
	v := r.resolve(n)
	if v.Kind != yaml.ScalarNode {
		hint := ""
		if isBraces(v) {
			hint = ": {{ }} belongs to a template; render it first, or put the text in quotes"
		}
		r.errorf(n, "%s: expected a text, found %s%s", where, kindName(v), hint)
		return ""
	}
	if v.Tag == "!!null" {
		return ""
	}
	if strings.HasPrefix(v.Tag, "!") && !strings.HasPrefix(v.Tag, "!!") {
		r.warnf(n, "%s: the tag %s means nothing in a buildspec; the text after it is taken as it is", where, v.Tag)
	}
	if strings.ContainsRune(v.Value, 0) {
		r.errorf(n, "%s: the text holds a NUL character, which no command, path or variable can: remove it", where)
		return ""
	}
	return v.Value
}

// isBraces recognises {{ name }}, which YAML reads as a mapping with a mapping as its key.
func isBraces(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode
}

// yes reads a yes/no setting, bare or quoted, in any case.
func (r *reader) yes(n *yaml.Node, where string) bool {
	v := r.resolve(n)
	if v.Kind == yaml.ScalarNode {
		switch strings.ToLower(strings.TrimSpace(v.Value)) {
		case "yes", "true":
			return true
		case "no", "false":
			return false
		}
		if v.Tag == "!!null" {
			return false
		}
	}
	r.errorf(n, "%s: expected yes or no (or true, false), found %s", where, kindName(v))
	return false
}

// count reads a whole number between lo and hi.
func (r *reader) count(n *yaml.Node, where string, lo, hi int) int {
	v := r.resolve(n)
	if v.Kind == yaml.ScalarNode {
		i, err := strconv.Atoi(strings.TrimSpace(v.Value))
		if err == nil && i >= lo && i <= hi {
			return i
		}
	}
	r.errorf(n, "%s: expected a whole number from %d to %d, found %s", where, lo, hi, kindName(v))
	return lo
}

// item is one text of a list and where it stands.
type item struct {
	text string
	node *yaml.Node
}

// items reads a list of texts. A single text stands for a list of one, as real
// files write it. Empty items are left out with a warning.
func (r *reader) items(n *yaml.Node, where string) []item {
	v := r.resolve(n)
	switch {
	case v.Kind == yaml.ScalarNode && v.Tag == "!!null":
		return nil
	case v.Kind == yaml.ScalarNode:
		if s := r.text(n, where); s != "" {
			return []item{{s, n}}
		}
		r.warnf(n, "%s: the text is empty and is left out", where)
		return nil
	case v.Kind != yaml.SequenceNode:
		r.errorf(n, "%s: expected a list (- item), found %s", where, kindName(v))
		return nil
	}
	var out []item
	for i, c := range v.Content {
		at := where + "[" + strconv.Itoa(i) + "]"
		if r.resolve(c).Kind != yaml.ScalarNode {
			r.errorf(c, "%s: expected a text, found %s", at, kindName(r.resolve(c)))
			continue
		}
		s := r.text(c, at)
		if s == "" {
			r.warnf(c, "%s: the item is empty and is left out", at)
			continue
		}
		out = append(out, item{s, c})
	}
	return out
}

// texts is items without their places.
func (r *reader) texts(n *yaml.Node, where string) []string {
	var out []string
	for _, it := range r.items(n, where) {
		out = append(out, it.text)
	}
	return out
}
