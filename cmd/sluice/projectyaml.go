package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sluice-ci/sluice/client"
)

// projectDoc is a project as a file has it, and where in the file it says what.
type projectDoc struct {
	project client.Project
	at      map[string]linePlace // by path, as the server names fields: limits.timeout
}

// linePlace is a line and a column of a file, from 1.
type linePlace struct{ line, col int }

// Bounds of a file of projects.
const (
	maxProjectFile = 16 << 20
	maxProjectNode = 1_000_000 // aliases count each time
	maxProjectDeep = 20
)

// serverOnly are the fields of a project that the server alone sets.
func serverOnly(name string) bool {
	return name == "created" || name == "updated" || name == "revision"
}

// projectReader reads projects, and notes all that is wrong with them.
type projectReader struct {
	file  string
	wrong []error
	nodes int
	at    map[string]linePlace
}

// readProjects reads a file of YAML documents, each a project. All that is wrong
// comes back at once, each with file, line and column.
func readProjects(file string, text []byte) ([]projectDoc, error) {
	r := &projectReader{file: file}
	if len(text) > maxProjectFile {
		return nil, fmt.Errorf("%s has %d bytes: want at most %d", file, len(text), maxProjectFile)
	}
	var docs []projectDoc
	seen := map[string]linePlace{}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			r.wrong = append(r.wrong, fmt.Errorf("%s: %w", file, err))
			break // what comes behind it cannot be told apart
		}
		if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
			continue
		}
		root := doc.Content[0]
		d := projectDoc{at: map[string]linePlace{"": {root.Line, root.Column}}}
		r.at = d.at
		r.into(root, reflect.ValueOf(&d.project).Elem(), "", 0)
		switch first, twice := seen[d.project.Name]; {
		case d.project.Name == "" && root.Kind == yaml.MappingNode:
			r.bad(root, "name: is missing")
		case twice:
			r.bad(root, "name: project %q is at line %d already", d.project.Name, first.line)
		}
		seen[d.project.Name] = linePlace{root.Line, root.Column}
		docs = append(docs, d)
	}
	if len(docs) == 0 && len(r.wrong) == 0 {
		r.wrong = append(r.wrong, fmt.Errorf("%s: there is no project in it", file))
	}
	return docs, errors.Join(r.wrong...)
}

func (r *projectReader) bad(n *yaml.Node, format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Errorf("%s:%d:%d: "+format, append([]any{r.file, n.Line, n.Column}, args...)...))
}

// into reads a node into a field.
func (r *projectReader) into(n *yaml.Node, v reflect.Value, path string, deep int) {
	if r.nodes++; r.nodes > maxProjectNode || deep > maxProjectDeep {
		if r.nodes == maxProjectNode+1 || deep == maxProjectDeep+1 {
			r.bad(n, "%s: there is too much of it", path)
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	r.at[path] = linePlace{n.Line, n.Column}
	if n.Tag == "!!null" {
		return
	}
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			r.bad(n, "%s: want a time such as 90s or 1h30m", path)
		}
		v.SetInt(int64(d))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		r.fields(n, v, path, deep)
	case reflect.Map:
		r.entries(n, v, path, deep)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			r.bad(n, "%s: want a list", path)
			return
		}
		list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, item := range n.Content {
			r.into(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i), deep+1)
		}
		v.Set(list)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.into(n, v.Elem(), path, deep+1)
	default:
		r.scalar(n, v, path)
	}
}

func (r *projectReader) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		r.bad(n, "%s: want one value", path)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(n.Value))
		if err != nil {
			r.bad(n, "%s: want true or false", path)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if size, sized := parseBytes(n.Value); err != nil && strings.HasSuffix(path, "memory") && sized == nil {
			i, err = size, nil
		}
		if err != nil {
			r.bad(n, "%s: want a whole number", path)
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			r.bad(n, "%s: want a number", path)
		}
		v.SetFloat(f)
	}
}

func (r *projectReader) fields(n *yaml.Node, v reflect.Value, path string, deep int) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, "%swant fields, such as 'name: app'", prefixed(path))
		return
	}
	known := wireFields(v.Type())
	r.pairs(n, path, func(key, value *yaml.Node) {
		at, ok := known[key.Value]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			r.bad(key, "%sthere is no field %q%s", prefixed(path), key.Value, didYouMean(key.Value, names, ""))
			return
		}
		r.into(value, v.Field(at), fieldBelow(path, key.Value), deep+1)
	})
}

func (r *projectReader) entries(n *yaml.Node, v reflect.Value, path string, deep int) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, "%s: want names with values", path)
		return
	}
	m := reflect.MakeMap(v.Type())
	r.pairs(n, path, func(key, value *yaml.Node) {
		item := reflect.New(v.Type().Elem()).Elem()
		r.into(value, item, fieldBelow(path, key.Value), deep+1)
		m.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), item)
	})
	v.Set(m)
}

// pairs calls f with each key and value, and notes keys that are there twice.
func (r *projectReader) pairs(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if first, twice := seen[key.Value]; twice {
			r.bad(key, "%s%q is at line %d already", prefixed(path), key.Value, first)
			continue
		}
		seen[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

func prefixed(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

func fieldBelow(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// wireFields are the fields of a struct that a file may have, by their names.
func wireFields(t reflect.Type) map[string]int {
	known := map[string]int{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" && !(t == reflect.TypeFor[client.Project]() && serverOnly(name)) {
			known[name] = i
		}
	}
	return known
}

// writeProject is the reverse of readProjects for one project: what is zero is
// left out, and so is what the server alone sets.
func writeProject(p client.Project) ([]byte, error) {
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(nodeOf(reflect.ValueOf(p))), enc.Close()); err != nil {
		return nil, fmt.Errorf("write project %s: %w", p.Name, err)
	}
	return buf.Bytes(), nil
}

func nodeOf(v reflect.Value) *yaml.Node {
	if d, ok := v.Interface().(time.Duration); ok {
		return text(shortDuration(d))
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if _, ok := wireFields(v.Type())[name]; ok && !empty(v.Field(i)) {
				n.Content = append(n.Content, text(name), nodeOf(v.Field(i)))
			}
		}
		return n
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			n.Content = append(n.Content, text(k.String()), nodeOf(v.MapIndex(k)))
		}
		return n
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, nodeOf(v.Index(i)))
		}
		return n
	case reflect.Pointer:
		return nodeOf(v.Elem())
	case reflect.String:
		return text(v.String())
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
}

func empty(v reflect.Value) bool {
	return v.IsZero() || (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0
}

// text is a string that stays one, whatever it looks like.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.Contains(s, "\n") && !strings.ContainsAny(s, "\r\t\u0085\u2028\u2029\ufeff") && strings.TrimSpace(s) != "" && s[0] != ' ' && s[0] != '\n' {
		n.Style = yaml.LiteralStyle
	}
	return n
}

// shortDuration is 1h30m, and not 1h30m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// lineDiff is what changes between two texts, line by line: " " stays, "-" goes,
// "+" comes.
func lineDiff(from, to string) []string {
	a, b := strings.SplitAfter(from, "\n"), strings.SplitAfter(to, "\n")
	same := make([][]int, len(a)+1) // the longest common rest
	for i := range same {
		same[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for k := len(b) - 1; k >= 0; k-- {
			if a[i] == b[k] {
				same[i][k] = same[i+1][k+1] + 1
			} else {
				same[i][k] = max(same[i+1][k], same[i][k+1])
			}
		}
	}
	var out []string
	add := func(mark, line string) {
		if line != "" {
			out = append(out, mark+strings.TrimSuffix(line, "\n"))
		}
	}
	i, k := 0, 0
	for i < len(a) || k < len(b) {
		switch {
		case i < len(a) && k < len(b) && a[i] == b[k]:
			add("  ", a[i])
			i, k = i+1, k+1
		case k == len(b) || i < len(a) && same[i+1][k] >= same[i][k+1]:
			add("- ", a[i])
			i++
		default:
			add("+ ", b[k])
			k++
		}
	}
	return out
}
