package ci

// Status is where a build, a job or a step stands.
type Status string

// The statuses. A build moves queued → running → done, with waiting between;
// the last seven are done.
const (
	Queued    Status = "queued"
	Running   Status = "running"
	Waiting   Status = "waiting"   // for an approval or a lock
	Succeeded Status = "succeeded" // the work said yes
	Unstable  Status = "unstable"  // Jenkins' yellow: done, with failed tests
	Failed    Status = "failed"    // the work said no
	Errored   Status = "errored"   // it could not be found out
	TimedOut  Status = "timed_out"
	Canceled  Status = "canceled"
	Skipped   Status = "skipped" // never begun: what it needs did not succeed, or a condition said no
)

var next = map[Status][]Status{
	Queued:  {Running, Waiting, Failed, Errored, TimedOut, Canceled, Skipped},
	Waiting: {Queued, Running, Errored, TimedOut, Canceled, Skipped},
	Running: {Waiting, Succeeded, Unstable, Failed, Errored, TimedOut, Canceled},
}

// Statuses lists every status there is.
func Statuses() []Status {
	return []Status{Queued, Running, Waiting, Succeeded, Unstable, Failed, Errored, TimedOut, Canceled, Skipped}
}

// Next lists the statuses that may follow s; none when s is done.
func Next(s Status) []Status { return next[s] }

// CanBecome says whether the move from s to t exists.
func (s Status) CanBecome(t Status) bool {
	for _, n := range next[s] {
		if n == t {
			return true
		}
	}
	return false
}

// Done says whether s is final.
func (s Status) Done() bool {
	switch s {
	case Queued, Running, Waiting, "":
		return false
	}
	return true
}

// OK says whether what follows may go on: succeeded or unstable.
func (s Status) OK() bool { return s == Succeeded || s == Unstable }

// severity orders the final statuses for Worst: a fault outranks a cancel, which
// outranks a timeout, which outranks a failure.
var severity = map[Status]int{Skipped: 0, Succeeded: 1, Unstable: 2, Failed: 3, TimedOut: 4, Canceled: 5, Errored: 6}

// Worst is the status of a whole whose parts ended so; Succeeded for none.
// Skipped parts do not count against it.
func Worst(parts ...Status) Status {
	worst := Succeeded
	for _, p := range parts {
		if severity[p] > severity[worst] {
			worst = p
		}
	}
	return worst
}

// CodeBuild is the status in the words of the CodeBuild API (BuildStatus).
func (s Status) CodeBuild() string {
	switch s {
	case Queued, Running, Waiting:
		return "IN_PROGRESS"
	case Succeeded, Unstable:
		return "SUCCEEDED"
	case Failed:
		return "FAILED"
	case Errored:
		return "FAULT"
	case TimedOut:
		return "TIMED_OUT"
	case Canceled:
		return "STOPPED"
	}
	return ""
}
