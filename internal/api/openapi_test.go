package api_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sluice-ci/sluice/client"
)

// TestOpenAPI checks the document as it is served: its structure, that its
// schemas are schemas (JSON Schema 2020-12, which OpenAPI 3.1 uses), and that
// real answers are as it says.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, h, text := w.raw("GET", "/api/v1/openapi.json", "", "")
	if status != 200 || h.Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("got %d as %s", status, h.Get("Content-Type"))
	}
	root, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	doc := root.(map[string]any)
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1.") {
		t.Errorf("got version %q, want 3.1", v)
	}
	checkOperations(t, doc)
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///doc", root); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name := range schemas {
		if _, err := c.Compile("mem:///doc#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	for path, schema := range map[string]string{
		"/projects": "ListProject", "/projects/web": "Project", "/builds": "ListBuild", "/projects/web/builds/1": "BuildInfo",
		"/projects/web/builds/1/steps": "ListJobSteps", "/projects/web/builds/1/artifacts": "ListJobArtifact",
		"/projects/web/builds/1/reports": "ListJobReport", "/users": "ListUser", "/users/admin": "User", "/me": "Me", "/tokens": "ListToken", "/projects/missing": "Fault", "/builds?limit=0": "Fault",
	} {
		s, err := c.Compile("mem:///doc#/components/schemas/" + schema)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		_, _, body := w.raw("GET", "/api/v1"+path, w.token, "")
		answer, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if err := s.Validate(answer); err != nil {
			t.Errorf("%s is not as the document says: %v\n%s", path, err, body)
		}
	}
}

// checkOperations checks what a schema does not say: IDs that are there and
// used once, parameters of the path that are described, references that lead
// somewhere, answers to what goes wrong.
func checkOperations(t *testing.T, doc map[string]any) {
	t.Helper()
	inPath := regexp.MustCompile(`\{([^}]+)\}`)
	ids := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, o := range item.(map[string]any) {
			op := o.(map[string]any)
			id, _ := op["operationId"].(string)
			if id == "" || ids[id] {
				t.Errorf("%s %s: operationId %q is missing or used twice", method, path, id)
			}
			ids[id] = true
			if op["summary"] == nil {
				t.Errorf("%s has no summary", id)
			}
			described := map[string]bool{}
			params, _ := op["parameters"].([]any)
			for _, p := range params {
				param := p.(map[string]any)
				if param["in"] == "path" {
					described[param["name"].(string)] = param["required"] == true
				}
				if param["schema"] == nil {
					t.Errorf("%s: parameter %v has no schema", id, param["name"])
				}
			}
			for _, m := range inPath.FindAllStringSubmatch(path, -1) {
				if !described[m[1]] {
					t.Errorf("%s: {%s} is not described as required", id, m[1])
				}
			}
			responses := op["responses"].(map[string]any)
			if _, ok := responses["default"]; !ok || len(responses) != 2 {
				t.Errorf("%s has the answers %v, want one and default", id, responses)
			}
		}
	}
	var refs func(v any)
	refs = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && lookUp(doc, ref) == nil {
				t.Errorf("%s leads nowhere", ref)
			}
			for _, x := range v {
				refs(x)
			}
		case []any:
			for _, x := range v {
				refs(x)
			}
		}
	}
	refs(doc)
}

func lookUp(doc map[string]any, ref string) any {
	var at any = doc
	for _, part := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[part]
	}
	return at
}

// TestDocumentIsForEverybody says what the API is without a token, and nothing else.
func TestDocumentIsForEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var n int
	operations(w.api.OpenAPI(), func(method, path string, op *huma.Operation) { n++ })
	if n != len(table) {
		t.Errorf("got %d operations, want %d", n, len(table))
	}
	_, _, text := w.raw("GET", "/api/v1/openapi.json", "", "")
	if !json.Valid([]byte(text)) || bytes.Contains([]byte(text), []byte(w.dir)) {
		t.Errorf("the document is not JSON, or shows where the server keeps things")
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 404, "/api/v1": 404, "/api/v1/projects": 401, "/api/v1/none": 401} {
		if status, _, body := w.raw("GET", path, "", ""); status != want {
			t.Errorf("%s without a token: got %d, want %d: %s", path, status, want, body)
		}
	}
}
