package buildspec

import (
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// batch is a batch section, read: one of the four kinds, as tasks.
type batch struct {
	failFast bool
	tasks    []task
}

// task is one build of a batch.
type task struct {
	id           string
	node         *yaml.Node // where problems with the task as a whole are noted
	buildspec    item       // "" = the file itself
	needs        []item
	debug        bool
	allowFailure bool
	env          taskEnv
	shard        [2]int // number from 1 and count, of a fanout
}

// taskEnv is what a task overrides.
type taskEnv struct {
	runtime   ci.Runtime
	variables []variable
}

var batchKinds = []string{"build-list", "build-graph", "build-matrix", "build-fanout"}

const (
	maxBatch      = 1000 // builds of one batch
	usualMaxBatch = 100  // CodeBuild's own limit
)

func (r *reader) batch(n *yaml.Node) *batch {
	b := &batch{}
	kinds := map[string]*yaml.Node{}
	keep := func(name string) key {
		return key{name: name, read: func(v *yaml.Node) { kinds[name] = v }}
	}
	r.mapping(n, "batch",
		key{name: "fast-fail", read: func(v *yaml.Node) { b.failFast = r.yes(v, "batch.fast-fail") }},
		keep("build-list"), keep("build-graph"), keep("build-matrix"), keep("build-fanout"),
	)
	if len(kinds) != 1 {
		r.errorf(n, "batch: expected exactly one of %s, found %d", strings.Join(batchKinds, ", "), len(kinds))
	}
	if v := kinds["build-list"]; v != nil {
		b.tasks = r.tasks(v, "batch.build-list", false)
	}
	if v := kinds["build-graph"]; v != nil {
		b.tasks = r.tasks(v, "batch.build-graph", true)
		r.checkGraph(b.tasks)
	}
	if v := kinds["build-matrix"]; v != nil {
		b.tasks = r.matrix(v)
	}
	if v := kinds["build-fanout"]; v != nil {
		b.tasks = r.fanout(v)
	}
	if len(b.tasks) > usualMaxBatch {
		r.warnf(n, "batch: %d builds; CodeBuild starts at most %d", len(b.tasks), usualMaxBatch)
	}
	return b
}

// tasks reads a build-list or build-graph.
func (r *reader) tasks(n *yaml.Node, where string, graph bool) []task {
	v := r.resolve(n)
	if v.Kind != yaml.SequenceNode || len(v.Content) == 0 {
		r.errorf(n, "%s: expected a list of builds (- identifier: name), found %s", where, kindName(v))
		return nil
	}
	if len(v.Content) > maxBatch {
		r.errorf(n, "%s: %d builds, and a batch may have %d", where, len(v.Content), maxBatch)
		return nil
	}
	var out []task
	first := map[string]*yaml.Node{}
	for _, c := range v.Content {
		t, ok := r.task(c, where, graph)
		if !ok {
			continue
		}
		if at := first[t.id]; at != nil {
			r.errorf(t.node, "%s: the identifier %s is already used at line %d: each build needs its own", where, quote(t.id), at.Line)
			continue
		}
		first[t.id] = t.node
		out = append(out, t)
	}
	return out
}

func (r *reader) task(n *yaml.Node, where string, graph bool) (task, bool) {
	t := task{node: n}
	have := r.mapping(n, where,
		key{name: "identifier", required: true, read: func(v *yaml.Node) { t.id, t.node = strings.TrimSpace(r.text(v, where+".identifier")), v }},
		key{name: "buildspec", read: func(v *yaml.Node) { t.buildspec = item{r.text(v, where+".buildspec"), v} }},
		key{name: "debug-session", read: func(v *yaml.Node) { t.debug = r.yes(v, where+".debug-session") }},
		key{name: "depend-on", read: func(v *yaml.Node) {
			if t.needs = r.items(v, where+".depend-on"); !graph {
				r.warnf(v, "%s.depend-on has no effect: only the builds of a build-graph wait for others", where)
				t.needs = nil
			}
		}},
		key{name: "env", read: func(v *yaml.Node) { t.env = r.taskEnv(v, where+".env") }},
		key{name: "ignore-failure", read: func(v *yaml.Node) { t.allowFailure = r.yes(v, where+".ignore-failure") }},
	)
	if have["identifier"] == nil {
		return t, false
	}
	if ci.CheckJobName(t.id) != nil {
		r.errorf(t.node, "%s: the identifier %s may have letters, digits and _ only, at most 128", where, quote(t.id))
		return t, false
	}
	if !isName("_" + t.id) {
		r.warnf(t.node, "%s: CodeBuild may refuse the identifier %s: use letters, digits and _", where, quote(t.id))
	}
	return t, true
}

// taskEnv reads the overrides of one build, or of all builds of a matrix.
func (r *reader) taskEnv(n *yaml.Node, where string) taskEnv {
	var e taskEnv
	var fleet *yaml.Node
	have := r.mapping(n, where,
		key{name: "compute-type", read: func(v *yaml.Node) { e.runtime.Size = r.text(v, where+".compute-type") }},
		key{name: "fleet", read: func(v *yaml.Node) { fleet = v }},
		key{name: "image", read: func(v *yaml.Node) { e.runtime.Image = r.text(v, where+".image") }},
		key{name: "type", read: func(v *yaml.Node) { e.runtime.Type = r.environmentType(v, where+".type") }},
		key{name: "privileged-mode", read: func(v *yaml.Node) { e.runtime.Privileged = r.yes(v, where+".privileged-mode") }},
		key{name: "variables", read: func(v *yaml.Node) { e.variables = r.variables(v, where+".variables", ci.Plain) }},
	)
	if have["fleet"] != nil {
		if have["compute-type"] != nil {
			r.errorf(fleet, "%s: fleet and compute-type exclude each other: remove one", where)
		}
		r.warnf(fleet, "%s.fleet has no effect: Sluice has no fleets; the build runs where the others run", where)
	}
	return e
}

func (r *reader) environmentType(n *yaml.Node, where string) string {
	text := r.text(n, where)
	if u := strings.ToUpper(text); strings.HasPrefix(u, "WINDOWS") || strings.HasPrefix(u, "MAC_") {
		r.warnf(n, "%s: %s asks for a system that Sluice does not build on; it runs on Linux", where, text)
	}
	return text
}

// fanout makes the same build several times, each with its share of the tests.
func (r *reader) fanout(n *yaml.Node) []task {
	const where = "batch.build-fanout"
	count, ignore := 0, false
	r.mapping(n, where,
		key{name: "parallelism", required: true, read: func(v *yaml.Node) { count = r.count(v, where+".parallelism", 1, maxBatch) }},
		key{name: "ignore-failure", read: func(v *yaml.Node) { ignore = r.yes(v, where+".ignore-failure") }},
	)
	tasks := make([]task, count)
	for i := range tasks {
		tasks[i] = task{id: shardName(i + 1), node: n, allowFailure: ignore, shard: [2]int{i + 1, count}}
	}
	return tasks
}
