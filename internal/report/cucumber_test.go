package report

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestCucumberHook: a scenario whose hook failed has failed, even if it has no step.
func TestCucumberHook(t *testing.T) {
	t.Parallel()
	r := parse(t, "CUCUMBERJSON", "x.json", `[{"name":"f","elements":[{"name":"a","steps":[],"before":[{"result":{"status":"failed","error_message":"no database"}}]}]}]`)
	wantCase(t, r, "a", ci.TestFailed, "no database")
}

// TestCucumberStepHook: Cucumber for the JVM puts the hooks of a step into it.
func TestCucumberStepHook(t *testing.T) {
	t.Parallel()
	r := parse(t, "CUCUMBERJSON", "x.json", `[{"name":"f","elements":[{"name":"a","steps":[{"keyword":"Given ","name":"x","result":{"status":"passed"},
"before":[{"result":{"status":"passed"}}],"after":[{"result":{"status":"failed","error_message":"no screenshot"}}]},{"name":"y","result":{"status":"skipped"}}]}]}]`)
	wantCase(t, r, "a", ci.TestFailed, "hook\nno screenshot")
}

// TestBehaveHook: Behave writes the status of the scenario, and nothing of hooks.
func TestBehaveHook(t *testing.T) {
	t.Parallel()
	r := parse(t, "CUCUMBERJSON", "x.json", `[{"name":"f","elements":[{"name":"a","status":"failed","steps":[{"name":"x"}]},
{"name":"b","status":"failed","steps":[{"name":"x","result":{"status":"failed","error_message":["wrong sum"]}}]},
{"name":"c","status":"skipped","steps":[{"name":"x"}]},{"name":"d","status":"passed","steps":[{"name":"x","result":{"status":"passed"}}]}]}]`)
	wantCase(t, r, "a", ci.TestFailed, "no step failed")
	wantCase(t, r, "b", ci.TestFailed, "wrong sum")
	wantCase(t, r, "c", ci.TestSkipped, "")
	wantCase(t, r, "d", ci.TestSucceeded, "")
}
