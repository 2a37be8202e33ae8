package buildspec

import "github.com/sluice-ci/sluice/internal/ci"

// Lint says all that is wrong or doubtful with a definition: what Compile says,
// of the batch section too where there is one, and what its author would thank
// for. It does not need Definition.Batch.
func Lint(def ci.Definition) ci.Problems {
	c := &compiler{notes: &notes{}, def: def, specs: map[string]*spec{}}
	main := c.main()
	if main == nil {
		return c.sorted()
	}
	if main.batch != nil {
		c.batchJobs(&ci.Plan{}, main)
	}
	if len(main.phases) > 0 {
		j := main.job(soleJob)
		c.expand(&j, task{})
	}
	return c.sorted()
}
