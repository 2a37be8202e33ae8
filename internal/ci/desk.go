package ci

import "time"

// RunnerInfo says who asks for work.
type RunnerInfo struct {
	Name string // stable over restarts: a runner takes its own jobs back by it
}

// Assignment is one job, with all that a runner needs to do it. After a restart
// the same job is assigned again, and Run.Steps then holds what is done already.
type Assignment struct {
	Build   Build // without Jobs and Plan
	Job     Job
	Run     JobRun
	Runtime Runtime // the job's, filled up with the build's
	Began   bool    // it was claimed before: the sandbox must be found, not made
	Timeout time.Duration
}
