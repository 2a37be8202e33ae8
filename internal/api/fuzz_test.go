package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
)

// choices turns the fuzzer's bytes into decisions; at their end all are 0.
type choices struct{ data []byte }

func (c *choices) byte() int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b)
}

func (c *choices) of(n int) int { return c.byte() % n }

// text is a word that makes sense somewhere, or rubbish.
func (c *choices) text() string {
	words := []string{"web", "1", "build/BUILD/0", "build/results/out.txt", "..", "", "%", "a b", "\x00", "\xff", "-1", "99999999999999999999",
		"true", "running", "2026-01-01T00:00:00Z", "\"1\"", "*", "git", "directory", "/", "x\ny", "'\";--", "<script>", strings.Repeat("x", 3000)}
	if i := c.of(len(words) + 4); i < len(words) {
		return words[i]
	}
	n := min(c.of(40), len(c.data))
	s := string(c.data[:n])
	c.data = c.data[n:]
	return s
}

// value is one that the schema describes, mostly.
func (c *choices) value(r huma.Registry, s *huma.Schema, depth int) any {
	if s != nil && s.Ref != "" {
		s = r.SchemaFromRef(s.Ref)
	}
	kind := c.of(12)
	if s == nil || depth > 6 || kind == 11 {
		return []any{nil, true, -1.5, 1e300, "x", []any{1}, map[string]any{"a": nil}, c.text()}[c.of(8)]
	}
	switch s.Type {
	case huma.TypeObject:
		m := map[string]any{}
		names := make([]string, 0, len(s.Properties))
		for name := range s.Properties {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if c.of(3) == 0 {
				m[name] = c.value(r, s.Properties[name], depth+1)
			}
		}
		if kind == 10 || len(names) == 0 {
			m[c.text()] = c.text()
		}
		return m
	case huma.TypeArray:
		list := []any{}
		for range c.of(4) {
			list = append(list, c.value(r, s.Items, depth+1))
		}
		return list
	case huma.TypeInteger:
		return []any{0, 1, 2, 200, -1, int64(5e9), 1.5, 1e20}[c.of(8)]
	case huma.TypeNumber:
		return []any{0, 0.5, 64, -1, 1e300}[c.of(5)]
	case huma.TypeBoolean:
		return c.of(2) == 0
	}
	return c.text()
}

// FuzzRequests sends requests made from the document, sensible and not: the
// answer is never 500 and never a panic, and what is refused says why.
func FuzzRequests(f *testing.F) {
	w := newWorld(f)
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	type operation struct {
		method, path string
		op           *huma.Operation
	}
	var ops []operation
	operations(w.api.OpenAPI(), func(method, path string, op *huma.Operation) {
		ops = append(ops, operation{method, path, op})
	})
	slices.SortFunc(ops, func(a, b operation) int { return strings.Compare(a.op.OperationID, b.op.OperationID) })
	for i := range ops {
		f.Add([]byte{byte(i)})
		f.Add(append([]byte{byte(i), 0, 1, 2, 3}, "some bytes to choose by, as many as it takes \x00\xff"...))
		f.Add(append([]byte{byte(i), 7, 200, 11}, strings.Repeat("\x03\x00\x02\x0b\x05\x01", 30)...))
	}
	registry := w.api.OpenAPI().Components.Schemas
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &choices{data}
		o := ops[c.of(len(ops))]
		target := o.path
		query, header := url.Values{}, http.Header{"Authorization": {"Bearer " + w.token}}
		for _, p := range o.op.Parameters {
			switch {
			case p.In == "path":
				value := map[string]string{"project": "web", "number": "1", "path": "build/BUILD/0", "name": "ann", "id": "T"}[p.Name]
				if c.of(3) == 0 {
					value = c.text()
				}
				if p.Name != "path" || c.of(2) == 0 {
					value = url.PathEscape(value)
				} else {
					value = (&url.URL{Path: value}).EscapedPath()
				}
				target = strings.ReplaceAll(target, "{"+p.Name+"}", value)
			case c.of(3) > 0:
			case p.In == "query":
				query.Add(p.Name, c.text())
			case p.In == "header":
				header.Set(p.Name, c.text())
			}
		}
		if c.of(12) == 0 {
			query.Add(c.text(), c.text())
		}
		body := ""
		switch c.of(8) {
		case 0:
			body = c.text() + c.text()
		default:
			if o.op.RequestBody == nil {
				break
			}
			content := o.op.RequestBody.Content["application/json"]
			if content == nil {
				body = string(c.data)
				break
			}
			text, err := json.Marshal(c.value(registry, content.Schema, 0))
			if err != nil {
				t.Fatal(err)
			}
			body = string(text)
		}
		method := o.method
		if c.of(16) == 15 {
			method = []string{"HEAD", "PATCH", "OPTIONS", "QUERY", "DELETE"}[c.of(5)]
		}
		u, err := url.Parse(api.Prefix + target)
		if err != nil {
			return // no client could send it
		}
		u.RawQuery = query.Encode()
		if c.of(16) == 15 {
			u.RawQuery = c.text()
		}
		send(t, w, method, u, header, body)
		if method == http.MethodDelete { // for those that come after
			restore(w)
		}
	})
}

// send has the handler answer, and looks at what it says.
func send(t *testing.T, w *world, method string, u *url.URL, header http.Header, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r := httptest.NewRequest("GET", "/", strings.NewReader(body)).WithContext(ctx)
	r.Method, r.URL, r.Header = method, u, header
	rec := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil && v != any(http.ErrAbortHandler) {
				t.Errorf("%s %s %q: panic: %v", method, u, body, v)
			}
		}()
		w.api.ServeHTTP(rec, r)
	}()
	if ctx.Err() != nil {
		t.Errorf("%s %s %q: no end", method, u, body)
	}
	if rec.Code >= 500 || rec.Code < 200 || rec.Code >= 300 && rec.Code < 400 && rec.Code != 304 {
		t.Errorf("%s %s %v %q: got %d %s\n%s", method, u, header, body, rec.Code, rec.Body, w.log)
	}
	if rec.Code >= 400 && rec.Code != 416 && method != http.MethodHead {
		var p api.Fault
		if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Code == "" || p.Status != rec.Code {
			t.Errorf("%s %s %q: got %d %s, want a problem", method, u, body, rec.Code, strconv.Quote(rec.Body.String()))
		}
	}
}

// restore makes the project anew, if it is gone.
func restore(w *world) {
	ctx := context.Background()
	if _, err := w.admin.Project(ctx, "web"); client.IsNotFound(err) {
		_, _ = w.admin.CreateProject(ctx, client.Project{Name: "web", Source: client.Source{Type: "git", Location: "https://127.0.0.1:1/none.git"}})
	}
}
