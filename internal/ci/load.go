package ci

import "time"

// Load is what a server has to do at a moment: what runs, what waits, and how much
// of what it has that takes.
type Load struct {
	Time     time.Time `json:"time"`
	Capacity Share     `json:"capacity"` // zero = no limit
	Used     Share     `json:"used"`
	Running  []LoadJob `json:"running"` // the longest running first
	// Waiting are jobs that are ready, and builds whose definition is to be read
	// (without a job), those that wait longest first; of many, the first.
	Waiting  []LoadJob     `json:"waiting"`
	Projects []LoadProject `json:"projects"` // the busiest first
	// Others counts what runs and waits in projects that the user may not see.
	Others LoadProject `json:"others"`
}

// Share is processors and bytes of memory.
type Share struct {
	CPUs   float64 `json:"cpus"`
	Memory int64   `json:"memory"`
}

// LoadJob is a job that runs or waits.
type LoadJob struct {
	Project  string    `json:"project"`
	Number   int64     `json:"number"`
	Job      string    `json:"job,omitempty"`
	Executor string    `json:"executor,omitempty"` // where it runs, or is to
	Phase    Phase     `json:"phase,omitempty"`    // that it is in
	Takes    Share     `json:"takes"`
	Since    time.Time `json:"since"`            // that it runs or waits
	For      string    `json:"for,omitempty"`    // what it waits for: memory, processors, runner, turn, order, bigger job, definition
	Detail   string    `json:"detail,omitempty"` // the same in words
}

// LoadProject is what one project has running and waiting.
type LoadProject struct {
	Project string `json:"project,omitempty"`
	Running int    `json:"running"`
	Waiting int    `json:"waiting"`
	Takes   Share  `json:"takes"`
}
