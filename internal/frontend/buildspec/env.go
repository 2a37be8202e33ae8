package buildspec

import (
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// env is the buildspec's env section, or 0.1's environment_variables.
type env struct {
	shell     string
	variables []variable
	exports   []item
	gitHelper bool
}

// maxVariables of one mapping; an environment of this size no longer starts programs.
const maxVariables = 1000

// variable is a ci.Variable and where its name and value stand.
type variable struct {
	ci.Variable
	key, value *yaml.Node
}

func (e *env) read(r *reader, n *yaml.Node, old bool) {
	r.mapping(n, "env",
		key{name: "shell", read: func(v *yaml.Node) { e.shell = r.shell(v, old) }},
		key{name: "variables", read: func(v *yaml.Node) { e.add(r, v, "env.variables", ci.Plain) }},
		key{name: "parameter-store", read: func(v *yaml.Node) { e.add(r, v, "env.parameter-store", ci.ParameterStore) }},
		key{name: "secrets-manager", read: func(v *yaml.Node) { e.add(r, v, "env.secrets-manager", ci.SecretsManager) }},
		key{name: "exported-variables", read: func(v *yaml.Node) { e.readExports(r, v) }},
		key{name: "git-credential-helper", read: func(v *yaml.Node) { e.gitHelper = r.yes(v, "env.git-credential-helper") }},
		// Real files have these here; only a batch build's env knows them.
		r.misplaced("compute-type"), r.misplaced("image"), r.misplaced("type"), r.misplaced("privileged-mode"),
	)
	if old {
		r.warnf(n, "env belongs to version 0.2 (in 0.1 it is called environment_variables); its variables are used all the same")
	}
}

func (r *reader) misplaced(name string) key {
	return key{name: name, read: func(v *yaml.Node) {
		r.warnf(v, "env.%s has no effect here: it belongs to the env of a batch build, or to the project (sluice run --image, --cpus, --memory)", name)
	}}
}

// readOldEnv reads version 0.1's environment_variables.
func (s *spec) readOldEnv(r *reader, n *yaml.Node) {
	if !s.old {
		r.warnf(n, "environment_variables belongs to version 0.1 and has no effect: in 0.2 write \"env:\" with \"variables:\"")
		return
	}
	r.mapping(n, "environment_variables",
		key{name: "plaintext", read: func(v *yaml.Node) { s.env.add(r, v, "environment_variables.plaintext", ci.Plain) }},
		key{name: "parameter-store", read: func(v *yaml.Node) {
			s.env.add(r, v, "environment_variables.parameter-store", ci.ParameterStore)
		}},
	)
}

// shell accepts the shells of a Linux image, by name or path.
func (r *reader) shell(n *yaml.Node, old bool) string {
	const where = "env.shell"
	name := strings.TrimSpace(r.text(n, where))
	base := strings.ToLower(strings.TrimSuffix(name[strings.LastIndexAny(name, `/\`)+1:], ".exe"))
	switch {
	case name == "":
		return ""
	case base == "powershell" || base == "pwsh" || base == "cmd":
		r.errorf(n, "%s: %s is a shell of Windows builds, and Sluice builds on Linux: use bash or sh", where, quote(name))
		return ""
	case base != "bash" && base != "sh" || name != base && !strings.HasPrefix(name, "/"):
		r.errorf(n, "%s: expected bash or sh (or /bin/bash, /bin/sh), found %s", where, quote(name))
		return ""
	case old:
		r.warnf(n, "%s has no effect in version 0.1: use version: 0.2", where)
		return ""
	}
	return name
}

// add reads one mapping of variables. A name that is there already is replaced:
// the later one in the text counts.
func (e *env) add(r *reader, n *yaml.Node, where string, kind ci.VariableKind) {
	for _, v := range r.variables(n, where, kind) {
		if i := slices.IndexFunc(e.variables, func(o variable) bool { return o.Name == v.Name }); i >= 0 {
			r.warnf(v.key, "%s: %s is set already at line %d; this one is used", where, v.Name, e.variables[i].key.Line)
			e.variables[i] = v
			continue
		}
		e.variables = append(e.variables, v)
	}
}

// variables reads a mapping of names to texts or references.
func (r *reader) variables(n *yaml.Node, where string, kind ci.VariableKind) []variable {
	fs, _ := r.fields(n, where)
	if len(fs) > maxVariables {
		r.errorf(n, "%s: %d variables, and a build may have %d: put them in a file that the commands read", where, len(fs), maxVariables)
		return nil
	}
	var out []variable
	for _, f := range fs {
		at := where + "." + f.name
		if !r.variableName(f, where) {
			continue
		}
		v := variable{ci.Variable{Name: f.name, Value: r.text(f.value, at)}, f.key, f.value}
		if kind != ci.Plain {
			v.Kind = kind
			if why, fatal := checkReference(kind, v.Value); fatal && r.resolve(f.value).Kind == yaml.ScalarNode {
				r.errorf(f.value, "%s: %s", at, why)
			} else if why != "" && !fatal {
				r.warnf(f.value, "%s: %s", at, why)
			}
		}
		out = append(out, v)
	}
	return out
}

// variableName checks a name; false when no environment can hold it.
func (r *reader) variableName(f field, where string) bool {
	if f.name == "" || strings.ContainsAny(f.name, "=\x00") {
		r.errorf(f.key, "%s: %s cannot be the name of an environment variable", where, quote(f.name))
		return false
	}
	if !isName(f.name) {
		r.warnf(f.key, "%s: a shell cannot read a variable named %s: use letters, digits and _", where, quote(f.name))
	}
	// Two of the reserved names are documented as settings of the build's author.
	if strings.HasPrefix(f.name, "CODEBUILD_") && !strings.HasPrefix(f.name, "CODEBUILD_CONFIG_AUTO_DISCOVER") {
		r.warnf(f.key, "%s: names that begin with CODEBUILD_ are reserved, and the build may overwrite %s: rename it", where, f.name)
	}
	return true
}

// isName says whether a shell can read a variable of this name.
func isName(s string) bool {
	for i, c := range s {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (e *env) readExports(r *reader, n *yaml.Node) {
	const where = "env.exported-variables"
	seen := map[string]bool{}
	for _, it := range r.items(n, where) {
		name := it.text
		switch {
		case strings.HasPrefix(name, "$") && isName(strings.Trim(name, "${}")):
			r.errorf(it.node, "%s: write the name alone, %s, without the $", where, strings.Trim(name, "${}"))
		case !isName(name):
			r.errorf(it.node, "%s: %s is not the name of a variable: use letters, digits and _, and no digit first", where, quote(name))
		case strings.HasPrefix(name, "AWS_"):
			r.warnf(it.node, "%s: CodeBuild does not export variables that begin with AWS_, and %s is left out: copy it to another name", where, name)
		case seen[name]:
			r.warnf(it.node, "%s: %s is listed twice", where, name)
		default:
			seen[name] = true
			e.exports = append(e.exports, it)
		}
	}
}
