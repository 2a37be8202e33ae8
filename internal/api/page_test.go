package api_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

var update = flag.Bool("update", false, "rewrite docs/reference/api.md")

// TestAPIPage holds docs/reference/api.md to the OpenAPI document.
func TestAPIPage(t *testing.T) {
	t.Parallel()
	doc := newWorld(t).api.OpenAPI()
	var b bytes.Buffer
	b.WriteString(`# The API

This page is made from the OpenAPI document (` + "`go test ./internal/api -run TestAPIPage -update`" + `), which a server gives at
` + "`/api/v1/openapi.json`" + `. All paths begin with ` + "`/api/v1`" + `. Errors are as RFC 9457 says, with a stable ` + "`code`" + `.

`)
	type operation struct {
		method, path string
		op           *huma.Operation
	}
	var all []operation
	operations(doc, func(method, path string, op *huma.Operation) { all = append(all, operation{method, path, op}) })
	slices.SortFunc(all, func(x, y operation) int {
		return cmp.Or(cmp.Compare(x.path, y.path), cmp.Compare(x.method, y.method))
	})
	for _, o := range all {
		fmt.Fprintf(&b, "## %s %s\n\n%s.\n", o.method, strings.TrimPrefix(o.path, "/api/v1"), strings.TrimSuffix(o.op.Summary, "."))
		if o.op.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", o.op.Description)
		}
		if len(o.op.Parameters) > 0 {
			b.WriteString("\n| parameter | in | type | meaning |\n|---|---|---|---|\n")
			for _, p := range o.op.Parameters {
				text := p.Description
				if text == "" && p.Schema != nil {
					text = p.Schema.Description
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Name, p.In, kind(p.Schema), cell(text))
			}
		}
		if o.op.RequestBody != nil {
			for _, media := range slices.Sorted(maps.Keys(o.op.RequestBody.Content)) {
				fmt.Fprintf(&b, "\nBody: %s (`%s`).\n", kind(o.op.RequestBody.Content[media].Schema), media)
			}
		}
		for _, status := range slices.Sorted(maps.Keys(o.op.Responses)) {
			if status >= "4" || status == "default" {
				continue // every operation answers errors in one way
			}
			r := o.op.Responses[status]
			for _, media := range slices.Sorted(maps.Keys(r.Content)) {
				fmt.Fprintf(&b, "\nAnswer %s: %s (`%s`).\n", status, kind(r.Content[media].Schema), media)
			}
			if len(r.Content) == 0 {
				fmt.Fprintf(&b, "\nAnswer %s.\n", status)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("# Types\n")
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		s := schemas[name]
		fmt.Fprintf(&b, "\n## %s\n", name)
		if s.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", s.Description)
		}
		if len(s.Properties) == 0 {
			fmt.Fprintf(&b, "\n%s\n", kind(s))
			continue
		}
		b.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			if field == "$schema" {
				continue
			}
			p := s.Properties[field]
			text := p.Description
			if slices.Contains(s.Required, field) {
				text = strings.TrimSpace("required. " + text)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", field, kind(p), cell(text))
		}
	}
	file := filepath.Join("..", "..", "docs", "reference", "api.md")
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
		t.Errorf("%s is not what the OpenAPI document says; go test ./internal/api -run TestAPIPage -update makes it anew", file)
	}
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// kind names a type, with a link where it has a place of its own.
func kind(s *huma.Schema) string {
	switch {
	case s == nil:
		return "bytes"
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	case s.Type == "array":
		return "list of " + kind(s.Items)
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", v))
		}
		return strings.Join(values, ", ")
	case s.Type == "object":
		if of, ok := s.AdditionalProperties.(*huma.Schema); ok {
			return "object of " + kind(of)
		}
		return "object"
	case s.Type == "":
		return "any"
	case s.Format != "":
		return s.Type + " (" + s.Format + ")"
	}
	return s.Type
}
