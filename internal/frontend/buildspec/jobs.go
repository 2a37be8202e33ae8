package buildspec

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// Variables that tell a build of a batch which one it is.
const (
	varBatchIdentifier = "CODEBUILD_BATCH_BUILD_IDENTIFIER"
	// ShardIndex counts from 0; codebuild-tests-run reads both to choose its share.
	varShardIndex = "CODEBUILD_SHARD_INDEX"
	varShardCount = "CODEBUILD_SHARD_COUNT"
)

// maxPlan bounds what all jobs of a plan hold together, in characters.
const maxPlan = 64 << 20

// shardName is also what CodeBuild adds to the names of a shard's report groups.
func shardName(n int) string { return "BuildFanoutShard" + strconv.Itoa(n) }

// job is what a spec makes as one build, before overrides.
func (s *spec) job(name string) ci.Job {
	j := ci.Job{
		Name:       name,
		Versions:   slices.Clone(s.versions),
		Shell:      s.env.shell,
		FreshShell: s.old,
		Reports:    s.reports,
		Artifacts:  s.artifacts,
		Cache:      s.cache,
		GitHelper:  s.env.gitHelper,
	}
	for _, v := range s.env.variables {
		j.Variables = append(j.Variables, v.Variable)
	}
	for _, x := range s.env.exports {
		j.Exports = append(j.Exports, x.text)
	}
	for _, p := range s.phases {
		plan := p.plan
		if plan.User == "" {
			plan.User = s.runAs
		}
		j.Phases = append(j.Phases, plan)
	}
	return j
}

// cost is what the task adds to a plan, in characters.
func (t task) cost() int {
	n := 0
	for _, v := range t.env.variables {
		n += 32 + len(v.Name) + len(v.Value)
	}
	return n
}

// apply lays a task over the job. Its variables are the job's own, as those of a
// build that a batch starts with overrides of StartBuild (codebuild.md 1.3).
func (t task) apply(j *ci.Job) {
	j.AllowFailure = t.allowFailure
	j.Debug = t.debug
	j.Runtime = t.env.runtime
	for _, n := range t.needs {
		j.Needs = append(j.Needs, n.text)
	}
	at := map[string]int{}
	set := func(v ci.Variable) {
		if i, ok := at[v.Name]; ok {
			j.Own[i] = v
			return
		}
		at[v.Name] = len(j.Own)
		j.Own = append(j.Own, v)
	}
	for _, v := range t.env.variables {
		set(v.Variable)
	}
	set(ci.Variable{Name: varBatchIdentifier, Value: t.id})
	if t.shard[1] > 0 {
		set(ci.Variable{Name: varShardIndex, Value: strconv.Itoa(t.shard[0] - 1)})
		set(ci.Variable{Name: varShardCount, Value: strconv.Itoa(t.shard[1])})
	}
}

// compiler makes the jobs of one definition.
type compiler struct {
	*notes
	def   ci.Definition
	specs map[string]*spec // by path; nil = read and refused
	size  int
	lint  bool
}

// expand replaces $NAME in the runtime versions by what is known when the plan
// is made: the task's own variables, those given from outside, then the file's.
// What is not known stays, for the runner to say.
func (c *compiler) expand(j *ci.Job, t task) {
	lookup := func(name string) (string, bool) {
		own := func(v variable) bool { return v.Name == name }
		if i := slices.IndexFunc(t.env.variables, own); i >= 0 {
			return t.env.variables[i].Value, true
		}
		if v, ok := c.def.Parameters[name]; ok {
			return v, true
		}
		i := slices.IndexFunc(j.Variables, func(v ci.Variable) bool { return v.Name == name && !v.Secret() })
		if i < 0 {
			return "", false
		}
		return j.Variables[i].Value, true
	}
	for i, v := range j.Versions {
		text, missing := expandVersion(v.Version, lookup)
		j.Versions[i].Version = text
		if missing != "" {
			c.add(v.Pos, ci.Warning, "runtime-versions."+v.Name+": the variable "+missing+" is set neither in env.variables nor from outside: give it a value, or write the version")
		}
	}
}

// expandVersion replaces $NAME and ${NAME}; missing is the first name without a value.
func expandVersion(s string, lookup func(string) (string, bool)) (text, missing string) {
	var out strings.Builder
	for s != "" {
		before, after, ok := strings.Cut(s, "$")
		out.WriteString(before)
		if !ok {
			break
		}
		name, rest := after, ""
		if strings.HasPrefix(after, "{") {
			name, rest, _ = strings.Cut(after[1:], "}")
		} else if i := strings.IndexFunc(after, func(c rune) bool { return c != '_' && !plainRune(c) }); i >= 0 {
			name, rest = after[:i], after[i:]
		}
		value, known := lookup(name)
		if !isName(name) || !known {
			value = "$" + after[:len(after)-len(rest)]
			if missing == "" && isName(name) {
				missing = name
			}
		}
		out.WriteString(value)
		s = rest
	}
	return out.String(), missing
}

// child finds the spec a task runs; nil when there is none, which is noted.
func (c *compiler) child(main *spec, t task, r *reader) *spec {
	name := strings.TrimSpace(t.buildspec.text)
	if name == "" {
		if len(main.phases) == 0 {
			r.errorf(t.node, "the build %s names no buildspec, and this file has no phases to run: add \"buildspec:\" with a path, or phases", t.id)
			return nil
		}
		return main
	}
	clean := path.Clean(name)
	switch {
	case strings.HasPrefix(name, "arn:"), strings.HasPrefix(name, "s3://"):
		r.errorf(t.buildspec.node, "buildspec %s: a buildspec in S3 cannot be read: name a file of the source", quote(name))
		return nil
	case strings.Contains(name, "\n"):
		r.errorf(t.buildspec.node, "buildspec: expected the path of a file in the source, found %s", quote(name))
		return nil
	case path.IsAbs(clean), clean == "..", strings.HasPrefix(clean, "../"):
		r.errorf(t.buildspec.node, "buildspec %s leads outside the source: give a path relative to its root", quote(name))
		return nil
	}
	s, seen := c.specs[clean]
	if !seen {
		s = c.readChild(clean, t.buildspec.node, r)
		c.specs[clean] = s
	}
	return s
}

func (c *compiler) readChild(name string, ref *yaml.Node, r *reader) *spec {
	if c.def.Read == nil && c.lint {
		return nil
	}
	if c.def.Read == nil {
		r.errorf(ref, "buildspec %s: there is no source to read it from: compile the file inside its directory", quote(name))
		return nil
	}
	text, err := c.def.Read(name)
	if err != nil {
		r.errorf(ref, "YAML file does not exist: buildspec %s of this build: %s", quote(name), ci.Message(err))
		return nil
	}
	s := readSpec(c.notes, name, text)
	if s != nil && len(s.phases) == 0 && s.batch != nil {
		r.errorf(ref, "buildspec %s has no phases: a build of a batch cannot be a batch itself", quote(name))
		return nil
	}
	return s
}
