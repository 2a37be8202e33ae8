package buildspec

import (
	"path"

	"github.com/sluice-ci/sluice/internal/ci"
)

// soleJob names the one job of a build without a batch.
const soleJob = "build"

// FrontEnd is the ci.FrontEnd for buildspecs. It has no state.
type FrontEnd struct{}

// New makes a FrontEnd.
func New() *FrontEnd { return &FrontEnd{} }

// Name is "buildspec".
func (*FrontEnd) Name() string { return "buildspec" }

// Files are the names under which CodeBuild looks for a buildspec.
func (*FrontEnd) Files() []string { return []string{"buildspec.yml", "buildspec.yaml"} }

// Compile makes the plan, or says all that is wrong with the text as ci.Problems.
func (*FrontEnd) Compile(def ci.Definition) (*ci.Plan, error) {
	c := &compiler{notes: &notes{}, def: def, specs: map[string]*spec{}}
	plan := c.compile(def.Batch)
	problems := c.sorted()
	if problems.Fatal() {
		return nil, problems
	}
	plan.Warnings = problems
	return plan, nil
}

// compile makes a plan that is only whole when nothing fatal was noted.
func (c *compiler) compile(asBatch bool) *ci.Plan {
	plan := &ci.Plan{Version: ci.PlanVersion, Format: "buildspec", File: c.def.Path}
	main := c.main()
	switch {
	case main == nil:
	case asBatch:
		c.batchJobs(plan, main)
	case main.phasesNode == nil && main.batch != nil:
		main.reader(c.notes).errorf(main.batch, "this buildspec has a batch section and no phases: run it as a batch (--batch)")
	default:
		j := main.job(soleJob)
		c.expand(&j, task{})
		plan.Jobs = []ci.Job{j}
	}
	return plan
}

// main reads the definition itself.
func (c *compiler) main() *spec {
	s := readSpec(c.notes, c.def.Path, c.def.Text)
	c.specs[path.Clean(c.def.Path)] = s
	return s
}

// batchJobs makes one job for each build of the batch section.
func (c *compiler) batchJobs(plan *ci.Plan, main *spec) {
	r := main.reader(c.notes)
	if main.batch == nil {
		r.errorf(main.root, "this buildspec has no batch section: run it without --batch, or add batch with one of build-list, build-graph, build-matrix, build-fanout")
		return
	}
	b := r.batch(main.batch)
	plan.FailFast = b.failFast
	for _, t := range b.tasks {
		s := c.child(main, t, r)
		if s == nil {
			continue
		}
		if c.size += s.cost + t.cost(); c.size > maxPlan {
			r.errorf(main.batch, "batch: its builds together hold more than %d characters: split the batch", maxPlan)
			return
		}
		j := s.job(t.id)
		t.apply(&j)
		c.expand(&j, t)
		plan.Jobs = append(plan.Jobs, j)
	}
}
