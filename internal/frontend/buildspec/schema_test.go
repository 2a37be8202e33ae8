package buildspec

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v4"
)

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("buildspec.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("buildspec.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a node as an editor's YAML 1.2 reader sees it, merge keys resolved.
func asJSON(r *reader, n *yaml.Node) any {
	n = r.resolve(n)
	switch n.Kind {
	case yaml.MappingNode:
		fs, _ := r.fields(n, "")
		out := map[string]any{}
		for _, f := range fs {
			out[f.name] = asJSON(r, f.value)
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			out[i] = asJSON(r, c)
		}
		return out
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int", "!!float":
		if d, err := jsonschema.UnmarshalJSON(strings.NewReader(n.Value)); err == nil {
			return d
		}
		return json.Number("1") // 0755, 0x1F, .inf: some number
	}
	return n.Value
}

// TestSchemaAgrees: what compiles and lints without an error is valid, what
// does not is invalid, unless the case says that no schema can see it.
func TestSchemaAgrees(t *testing.T) {
	schema := compiledSchema(t)
	valid, invalid := 0, 0
	for _, c := range cases(t) {
		name := strings.TrimSuffix(filepath.Base(c.path), ".txtar")
		root, widths := parse(&notes{}, c.def.Path, c.def.Text)
		if root == nil {
			continue // not YAML, so no schema is asked
		}
		_, err := New().Compile(c.def)
		good := err == nil && !Lint(c.def).Fatal()
		v := asJSON(&reader{notes: &notes{}, path: c.def.Path, widths: widths}, root)
		invalidity := schema.Validate(v)
		switch {
		case good && invalidity != nil:
			t.Errorf("%s compiles, and the schema refuses it: %v", name, invalidity)
		case good:
			valid++
		case !c.blind && invalidity == nil:
			t.Errorf("%s is refused, and the schema takes it", name)
		case !c.blind:
			invalid++
		case c.blind && invalidity != nil:
			t.Errorf("%s says that the schema cannot see what is wrong, and it does: %v", name, invalidity)
		}
	}
	if valid < 50 || invalid < 20 {
		t.Errorf("the schema took %d cases and refused %d, want 50 and 20 at least", valid, invalid)
	}
}

func TestSchemaIsStable(t *testing.T) {
	if !bytes.Equal(Schema(), Schema()) {
		t.Error("two calls give two schemas")
	}
}

// TestSchemaOnFailure compares the schema's pattern with the parser, value by value.
func TestSchemaOnFailure(t *testing.T) {
	schema := compiledSchema(t)
	for _, text := range []string{
		"ABORT", "abort", "CONTINUE", "RETRY", "Retry-0", "RETRY-7", "RETRY-99", "RETRY-100", "RETRY-101", "RETRY-999",
		"RETRY-1000", "RETRY-100-x", "RETRY-101-x", "RETRY-a", "RETRY-.*x.*", "RETRY-3-.*", "RETRY-3-", "RETRY-", "RETRY--", "RETRY--a",
		"RETRY-007", "STOP", "ABORT-1", "CONTINUE-", "RETRY-12a", "RETRY-150a", "RETRY-150.*", "RETRY-3-4-5", "RETRYX",
	} {
		_, err := parseFailure(text)
		v := map[string]any{"version": "0.2", "phases": map[string]any{"build": map[string]any{"commands": "x", "on-failure": text}}}
		if got := schema.Validate(v) == nil; got != (err == nil) {
			t.Errorf("on-failure %q: schema takes it = %v, parser says %v", text, got, err)
		}
	}
}
