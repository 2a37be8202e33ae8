package ci

import (
	"encoding/json"
	"time"
)

// Build is one run of a definition at one state of its source. It is also the
// record that build.json holds.
type Build struct {
	ID        BuildID    `json:"id"`
	Number    int64      `json:"number"`
	Project   string     `json:"project"`
	Source    Source     `json:"source"`
	Commit    Commit     `json:"commit,omitzero"`
	Initiator string     `json:"initiator"`
	Node      string     `json:"node,omitempty"`   // the server that has it in hand, where several share a database
	File      string     `json:"file"`             // the definition's path in the source
	Inline    string     `json:"inline,omitempty"` // the definition itself, where it is not in the source
	Status    Status     `json:"status"`
	Reason    string     `json:"reason,omitempty"` // why it is not simply succeeded, in a sentence
	Cancel    string     `json:"cancel,omitempty"` // why it was asked to stop
	Queued    time.Time  `json:"queued"`
	Started   time.Time  `json:"started,omitzero"`
	Ended     time.Time  `json:"ended,omitzero"`
	Problems  []Problem  `json:"problems,omitempty"` // of a definition that did not compile
	Variables []Variable `json:"variables,omitempty"`
	Limits    Limits     `json:"limits,omitzero"`
	Runtime   Runtime    `json:"runtime,omitzero"` // what jobs that do not say otherwise run in
	Batch     bool       `json:"batch,omitempty"`
	RetryOf   BuildID    `json:"retryOf,omitempty"`   // the build that this one does again
	Redo      []string   `json:"redo,omitempty"`      // jobs of RetryOf to do again, with those that need them; the others are taken over
	Attempt   int        `json:"attempt,omitempty"`   // how often it was tried before, by itself
	After     *BuildRef  `json:"after,omitempty"`     // the build of another project that brought it about
	Asked     string     `json:"asked,omitempty"`     // a sum of what it was asked for with, of one with a key
	Packaging string     `json:"packaging,omitempty"` // of artifacts: zip or folder; "" = as the runner has it
	Untrusted bool       `json:"untrusted,omitempty"` // of what strangers wrote, such as a pull request from a fork: it gets no secrets
	Jobs      []JobRun   `json:"jobs"`
	Plan      *Plan      `json:"plan,omitempty"`
	Metered   int64      `json:"meteredSeconds"` // seconds that sandboxes were held, added up over the jobs
}

// Node is a server among those that share a database.
type Node struct {
	Name string
	URL  string        // where others reach it
	Beat int64         // grows as long as it lives
	Left time.Duration // until it said that it would be heard of again, by the database's clock; 0 = it is late
}

// Job finds an attempt by its ID; nil when there is none.
func (b *Build) Job(id JobID) *JobRun {
	for i := range b.Jobs {
		if b.Jobs[i].ID == id {
			return &b.Jobs[i]
		}
	}
	return nil
}

// JobRun is one attempt of a job.
type JobRun struct {
	ID           JobID      `json:"id"`
	Name         string     `json:"name"`
	From         JobID      `json:"from,omitempty"` // the job of an earlier build that this was taken over from, instead of run
	Needs        []string   `json:"needs,omitempty"`
	AllowFailure bool       `json:"allowFailure,omitempty"`
	Status       Status     `json:"status"`
	Reason       string     `json:"reason,omitempty"`
	Queued       time.Time  `json:"queued"`
	Started      time.Time  `json:"started,omitzero"`
	Ended        time.Time  `json:"ended,omitzero"`
	Environment  Placed     `json:"environment,omitzero"`
	Steps        []StepRun  `json:"steps,omitempty"`
	Exports      []Variable `json:"exportedVariables,omitempty"`
	Artifacts    []Artifact `json:"artifacts,omitempty"`
	Reports      []Report   `json:"reports,omitempty"`
	Cache        []CacheUse `json:"cache,omitempty"`
	Usage        Usage      `json:"usage,omitzero"`
	Charge       *Charge    `json:"charge,omitempty"` // of one that held a sandbox and ended
}

// StepKind tells the three things a StepID can name.
type StepKind string

// A phase holds commands (of the definition) and actions (Sluice's own work,
// such as fetching the source or uploading artifacts).
const (
	KindPhase   StepKind = "phase"
	KindCommand StepKind = "command"
	KindAction  StepKind = "action"
)

// StepRun is one phase, command or action that began.
type StepRun struct {
	ID       StepID         `json:"id"`
	Kind     StepKind       `json:"kind"`
	Phase    Phase          `json:"phase"`
	Title    string         `json:"title,omitempty"` // the command's text, or what an action does
	Pos      Pos            `json:"pos,omitzero"`
	Attempt  int            `json:"attempt,omitempty"` // of the phase, with on-failure: RETRY; from 1
	Finally  bool           `json:"finally,omitempty"`
	Status   Status         `json:"status"`
	Exit     *Exit          `json:"exit,omitempty"` // of a command that ended
	Contexts []PhaseContext `json:"contexts,omitempty"`
	Note     string         `json:"note,omitempty"` // what came of it, in a few words: "312 files, 4.1 MB"
	// What the step brought about, recorded with it so that a restart has it.
	Artifacts   []Artifact       `json:"artifacts,omitempty"`
	Reports     []Report         `json:"reports,omitempty"`
	Cache       []CacheUse       `json:"cache,omitempty"`
	Exports     []Variable       `json:"exportedVariables,omitempty"`
	Versions    []RuntimeVersion `json:"versions,omitempty"`
	Environment *Placed          `json:"environment,omitempty"`
	Usage       *Usage           `json:"usage,omitempty"`
	Started     time.Time        `json:"started"`
	Ended       time.Time        `json:"ended,omitzero"`
}

// PhaseContext is CodeBuild's {statusCode, message} of a phase; codebuild.md 1.9.
type PhaseContext struct {
	Code    string `json:"statusCode"`
	Message string `json:"message"`
}

// Status codes of a PhaseContext.
const (
	CodeCommandFailed = "COMMAND_EXECUTION_ERROR"
	CodeYAML          = "YAML_FILE_ERROR"
	CodeClient        = "CLIENT_ERROR"
	CodePullImage     = "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE"
	CodeFault         = "INTERNAL_ERROR"
	CodeTimedOut      = "BUILD_TIMED_OUT"
)

// Placed says where a job ran, in words a person can check.
type Placed struct {
	Executor  string           `json:"executor"`
	Image     string           `json:"image,omitempty"`     // as asked for
	Digest    string           `json:"digest,omitempty"`    // what it was
	Isolation string           `json:"isolation,omitempty"` // "user, mount, pid namespaces; host network; cgroup v1"
	Size      string           `json:"size,omitempty"`
	CPUs      float64          `json:"cpus,omitempty"`
	Memory    int64            `json:"memory,omitempty"`
	Versions  []RuntimeVersion `json:"versions,omitempty"` // selected
}

// Usage is what a job or command took. Zero = not measured.
type Usage struct {
	CPUSeconds  float64 `json:"cpuSeconds,omitempty"`
	PeakMemory  int64   `json:"peakMemory,omitempty"`  // bytes
	OOMKills    int     `json:"oomKills,omitempty"`    // processes the kernel killed at the memory limit
	PeakCPUs    float64 `json:"peakCPUs,omitempty"`    // processors busy at once, over a second or more
	DiskRead    int64   `json:"diskRead,omitempty"`    // bytes from the disk
	DiskWritten int64   `json:"diskWritten,omitempty"` // bytes to the disk
	NetIn       int64   `json:"netIn,omitempty"`       // bytes received, where the network is the sandbox's own
	NetOut      int64   `json:"netOut,omitempty"`      // bytes sent, the same
}

// Artifact is files kept after a job.
type Artifact struct {
	ID     string `json:"id,omitempty"` // "" = the primary artifact
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"` // where it is, relative to the output directory
	Format string `json:"format"`         // zip or folder
	Files  int    `json:"files"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // hex; of the ZIP, or of a folder's sorted "sha256  path" lines
	MD5    string `json:"md5,omitempty"`    // hex; ZIP only
	Blob   string `json:"blob,omitempty"`   // key in Blobs
}

// CacheUse is what became of one cache in one job.
type CacheUse struct {
	Action string `json:"action"` // restore, save
	Key    string `json:"key,omitempty"`
	Hit    string `json:"hit,omitempty"` // key of the entry that was restored
	Result string `json:"result"`        // hit, fallback, miss, saved, exists, corrupt, failed, skipped
	Size   int64  `json:"size,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Tried are the keys that were looked for, in order: the exact one, then beginnings of others.
	Tried []string `json:"tried,omitempty"`
}

// Source is what is built.
type Source struct {
	Type     string `json:"type"`              // directory, git, upload
	Location string `json:"location"`          // path or URL; PROJECT/SHA256 of an upload
	Version  string `json:"version,omitempty"` // the ref asked for
}

// Commit is a resolved state of a source. Zero for a directory outside git.
type Commit struct {
	Hash    string    `json:"hash,omitempty"`
	Ref     string    `json:"ref,omitempty"`   // refs/heads/main, where known
	Dirty   bool      `json:"dirty,omitempty"` // uncommitted changes are part of the build
	Author  string    `json:"author,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Time    time.Time `json:"time,omitzero"`
}

// EventType names what happened.
type EventType string

// Events, in the order of a build's life.
const (
	EventBuildQueued   EventType = "build_queued"
	EventBuildStarted  EventType = "build_started"
	EventJobQueued     EventType = "job_queued"
	EventJobStarted    EventType = "job_started"
	EventStepStarted   EventType = "step_started"
	EventStepFinished  EventType = "step_finished"
	EventJobFinished   EventType = "job_finished"
	EventBuildFinished EventType = "build_finished"
	EventCancel        EventType = "cancel_requested"
	EventBuildTaken    EventType = "build_taken" // by another server
	EventOutput        EventType = "output"      // only on the wire of `sluice run --json`; never stored
)

// Event is something that happened, numbered in order within its build.
type Event struct {
	Seq    int64           `json:"seq"`
	Time   time.Time       `json:"time"`
	Type   EventType       `json:"type"`
	Build  BuildID         `json:"build"`
	Job    JobID           `json:"job,omitempty"`
	Step   StepID          `json:"step,omitempty"`
	Status Status          `json:"status,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"` // the Build, JobRun or StepRun as it then was
	Why    *Decision       `json:"why,omitempty"`  // what brought it about; nil = nothing had to be decided

	body any // what Data says, in the process that made the event: saves reading it back
}
