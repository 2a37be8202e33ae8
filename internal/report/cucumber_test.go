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
