package buildspec

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// maxAxes is how many variables a matrix may vary.
const maxAxes = 50

// axis is one dimension of a build-matrix.
type axis struct {
	values []item
	set    func(*task, item)
}

// matrix reads a build-matrix: the product of its axes. The builds are named
// build1, build2, …; the last axis varies fastest. The axes are, in this order,
// buildspec, compute-type, image, type, privileged-mode, and the variables in
// the order of the text.
func (r *reader) matrix(n *yaml.Node) []task {
	const where = "batch.build-matrix"
	base := task{node: n}
	var axes []axis
	r.mapping(n, where,
		key{name: "static", read: func(v *yaml.Node) {
			r.mapping(v, where+".static",
				key{name: "ignore-failure", read: func(v *yaml.Node) { base.allowFailure = r.yes(v, where+".static.ignore-failure") }},
				key{name: "env", read: func(v *yaml.Node) { base.env = r.taskEnv(v, where+".static.env") }},
			)
		}},
		key{name: "dynamic", required: true, read: func(v *yaml.Node) { axes = r.axes(v, where+".dynamic") }},
	)
	total := 1
	for _, a := range axes {
		if total *= len(a.values); total > maxBatch {
			r.errorf(n, "%s: the product of its lists is more than %d builds: shorten them", where, maxBatch)
			return nil
		}
	}
	if len(axes) == 0 {
		r.errorf(n, "%s: dynamic lists nothing to vary: give it buildspec, or env with image, compute-type or variables", where)
		return nil
	}
	tasks := make([]task, total)
	for i := range tasks {
		t := base
		t.env.variables = slices.Clone(base.env.variables)
		t.id = "build" + strconv.Itoa(i+1)
		rest := i
		for a := len(axes) - 1; a >= 0; a-- {
			size := len(axes[a].values)
			axes[a].set(&t, axes[a].values[rest%size])
			rest /= size
		}
		tasks[i] = t
	}
	return tasks
}

// axes reads dynamic in its fixed order. A single text is a list of one.
func (r *reader) axes(n *yaml.Node, where string) []axis {
	var buildspec, size, image, kind, privileged axis
	var variables []axis
	list := func(a *axis, name string, set func(*task, item)) key {
		return key{name: strings.TrimPrefix(name, "env."), read: func(v *yaml.Node) {
			*a = axis{r.axis(v, where+"."+name), set}
		}}
	}
	r.mapping(n, where,
		list(&buildspec, "buildspec", func(t *task, it item) { t.buildspec = it }),
		key{name: "env", read: func(v *yaml.Node) {
			r.mapping(v, where+".env",
				list(&size, "env.compute-type", func(t *task, it item) { t.env.runtime.Size = it.text }),
				list(&image, "env.image", func(t *task, it item) { t.env.runtime.Image = it.text }),
				list(&kind, "env.type", func(t *task, it item) { t.env.runtime.Type = r.environmentType(it.node, where+".env.type") }),
				list(&privileged, "env.privileged-mode", func(t *task, it item) {
					t.env.runtime.Privileged = r.yes(it.node, where+".env.privileged-mode")
				}),
				key{name: "variables", read: func(v *yaml.Node) { variables = r.variableAxes(v, where+".env.variables") }},
			)
		}},
	)
	return slices.DeleteFunc(append([]axis{buildspec, size, image, kind, privileged}, variables...),
		func(a axis) bool { return len(a.values) == 0 })
}

func (r *reader) variableAxes(n *yaml.Node, where string) []axis {
	fs, _ := r.fields(n, where)
	if len(fs) > maxAxes {
		r.errorf(n, "%s: %d variables, and a matrix may vary %d: put fixed ones in env.variables", where, len(fs), maxAxes)
		return nil
	}
	var out []axis
	for _, f := range fs {
		if !r.variableName(f, where) {
			continue
		}
		out = append(out, axis{r.axis(f.value, where+"."+f.name), func(t *task, it item) {
			v := variable{ci.Variable{Name: f.name, Value: it.text}, f.key, it.node}
			t.env.variables = append(slices.DeleteFunc(t.env.variables, func(o variable) bool { return o.Name == f.name }), v)
		}})
	}
	return out
}

// axis reads the values of one dimension and warns of one that is listed twice.
func (r *reader) axis(n *yaml.Node, where string) []item {
	values := r.items(n, where)
	if len(values) > maxBatch {
		r.errorf(n, "%s: %d values, and a batch may have %d builds", where, len(values), maxBatch)
		return nil
	}
	for i, v := range values {
		if slices.ContainsFunc(values[:i], func(o item) bool { return o.text == v.text }) {
			r.warnf(v.node, "%s: %s is listed twice, so the same build runs twice", where, quote(v.text))
		}
	}
	if v := r.resolve(n); v.Kind != yaml.MappingNode && len(v.Content) == 0 && len(values) == 0 {
		r.warnf(n, "%s lists nothing and is left out", where)
	}
	return values
}
