package buildspec

import (
	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// spec is one buildspec file, read.
type spec struct {
	path       string
	widths     []int // of its lines
	root       *yaml.Node
	old        bool // version 0.1
	runAs      string
	env        env
	phases     []phase // in the order they run; all four, or none when the file has no phases
	phasesNode *yaml.Node
	versions   []ci.RuntimeVersion
	reports    []ci.ReportSpec
	artifacts  []ci.ArtifactSpec
	cache      *ci.CacheSpec
	batch      *yaml.Node // nil = no batch section
	cost       int        // how much a job made of it holds, in characters
}

// topLevel are the keys of section 1.2, for hints about misplaced ones.
var topLevel = []string{"version", "run-as", "env", "proxy", "batch", "phases", "reports", "artifacts", "cache"}

const (
	noVersion = "invalid buildspec `version` specified: there is none; write \"version: 0.2\" as the first line"
	noPhases  = "phases is missing: a buildspec has \"phases:\" with at least one of install, pre_build, build, post_build"
)

// readSpec parses and reads a file. The spec is nil when it is not YAML or not
// a mapping; the notes say why.
func readSpec(ns *notes, path string, text []byte) *spec {
	ns.open(path)
	root, widths := parse(ns, path, text)
	if root == nil {
		return nil
	}
	r := &reader{notes: ns, path: path, widths: widths}
	if root.Kind != yaml.MappingNode {
		r.errorf(root, "wrong number of container tags, expected 1: a buildspec is a mapping that begins with \"version: 0.2\", found %s; check the indentation and that each \":\" has a space after it", kindName(root))
		return nil
	}
	s := &spec{path: path, widths: widths, root: root}
	s.read(r)
	s.cost = r.cost
	return s
}

// reader notes what is found in the file once it is read.
func (s *spec) reader(ns *notes) *reader { return &reader{notes: ns, path: s.path, widths: s.widths} }

func (s *spec) read(r *reader) {
	// The version decides how the rest is read, wherever it stands.
	version := r.find(s.root, "version")
	s.old = version != nil && r.resolve(version).Value == "0.1"
	var phases *yaml.Node
	section := r.find(s.root, "batch")
	noBatch := section == nil || r.isNull(section)
	keys := []key{
		{name: "version", required: noBatch || r.find(s.root, "phases") != nil, missing: noVersion, read: func(n *yaml.Node) { s.readVersion(r, n) }},
		{name: "run-as", read: func(n *yaml.Node) { s.runAs = r.user(n, "run-as", s.old) }},
		{name: "env", read: func(n *yaml.Node) { s.env.read(r, n, s.old) }},
		{name: "proxy", read: r.proxy},
		{name: "batch", read: func(n *yaml.Node) { s.batch = n }},
		{name: "phases", required: noBatch && r.find(s.root, "phases") == nil, missing: noPhases, read: func(n *yaml.Node) { phases = n }},
		{name: "reports", read: func(n *yaml.Node) { s.reports = r.reports(n) }},
		{name: "artifacts", read: func(n *yaml.Node) { s.artifacts = r.artifacts(n, s.old) }},
		{name: "cache", read: func(n *yaml.Node) { s.cache = r.cache(n) }},
	}
	if s.old || r.find(s.root, "environment_variables") != nil {
		keys = append(keys, key{name: "environment_variables", read: func(n *yaml.Node) { s.readOldEnv(r, n) }})
	}
	have := r.mapping(s.root, "buildspec", keys...)
	if s.batch != nil && have["batch"] == nil {
		r.warnf(s.batch, "batch: the section is empty and has no effect")
		s.batch = nil
	}
	if phases != nil {
		s.phasesNode = phases
		s.readPhases(r, phases)
	}
}

// find looks a key up at the top of a mapping, without noting anything.
func (r *reader) find(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func (s *spec) readVersion(r *reader, n *yaml.Node) {
	v := r.resolve(n)
	if v.Kind != yaml.ScalarNode || v.Value != "0.1" && v.Value != "0.2" {
		r.errorf(n, "invalid buildspec `version` specified: %s, see documentation: use 0.2 (or 0.1, which older files have)", v.Value)
		return
	}
	if v.Tag == "!!str" && r.find(s.root, "batch") != nil {
		r.warnf(n, "version: CodeBuild's batch builds refuse a quoted version (\"cannot unmarshal !!str `%s` into float64\"): write it without quotes", v.Value)
	}
}

// user reads a run-as.
func (r *reader) user(n *yaml.Node, where string, old bool) string {
	name := r.text(n, where)
	if old && name != "" {
		r.warnf(n, "%s has no effect in version 0.1: use version: 0.2", where)
		return ""
	}
	for _, c := range name {
		if c <= ' ' || c == ':' || c == '/' {
			r.errorf(n, "%s: %s is not the name of a Linux user", where, quote(name))
			return ""
		}
	}
	return name
}

func (r *reader) proxy(n *yaml.Node) {
	on := false
	yes := func(name string) key {
		return key{name: name, read: func(v *yaml.Node) { on = r.yes(v, "proxy."+name) || on }}
	}
	r.mapping(n, "proxy", yes("upload-artifacts"), yes("logs"))
	if on {
		r.warnf(n, "proxy has no effect: Sluice keeps artifacts and logs itself; commands see HTTP_PROXY and HTTPS_PROXY as the environment sets them")
	}
}
