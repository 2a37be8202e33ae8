package client

import (
	"encoding/json"
	"time"
)

// Build is one run of a project.
type Build struct {
	ID        string     `json:"id"`
	Number    int64      `json:"number"`
	Project   string     `json:"project"`
	Source    Source     `json:"source"`
	Commit    Commit     `json:"commit,omitzero"`
	Initiator string     `json:"initiator"`
	Node      string     `json:"node,omitempty"`   // the server that has it in hand, where several share a database
	File      string     `json:"file"`             // the definition's path in the source
	Inline    string     `json:"inline,omitempty"` // the definition itself, where it is not in the source
	Status    string     `json:"status"`
	Reason    string     `json:"reason,omitempty"` // why it is not simply succeeded
	Cancel    string     `json:"cancel,omitempty"` // why it was asked to stop
	Queued    time.Time  `json:"queued"`
	Started   time.Time  `json:"started,omitzero"`
	Ended     time.Time  `json:"ended,omitzero"`
	Problems  []Problem  `json:"problems,omitempty"` // of a definition that did not compile
	Variables []Variable `json:"variables,omitempty"`
	Limits    Limits     `json:"limits,omitzero"`
	Runtime   Runtime    `json:"runtime,omitzero"`
	Batch     bool       `json:"batch,omitempty"`
	RetryOf   string     `json:"retryOf,omitempty"` // ID of the build that this one does again
	Asked     string     `json:"asked,omitempty"`
	Redo      []string   `json:"redo,omitempty"`      // jobs of that build to do again; the others were taken over
	Attempt   int        `json:"attempt,omitempty"`   // how often it was tried before, by itself
	Retry     int64      `json:"retry,omitempty"`     // number of the build that tried it again by itself
	After     *BuildRef  `json:"after,omitempty"`     // the build of another project that brought it about
	Packaging string     `json:"packaging,omitempty"` // of artifacts: zip or folder
	Untrusted bool       `json:"untrusted,omitempty"` // of what strangers wrote, such as a pull request from a fork: it gets no secrets
	Jobs      []Job      `json:"jobs"`                // without steps in lists
	// Plan is what the definition compiled to, as the server stores it; only where one build is shown.
	Plan    json.RawMessage `json:"plan,omitempty"`
	Metered int64           `json:"meteredSeconds"`
	// Waits says why the build has not begun yet; only where one build is shown.
	Waits string `json:"waits,omitempty"`
}

// Statuses of builds, jobs and steps.
const (
	Queued    = "queued"
	Running   = "running"
	Waiting   = "waiting"
	Succeeded = "succeeded"
	Unstable  = "unstable"
	Failed    = "failed"
	Errored   = "errored"
	TimedOut  = "timed_out"
	Canceled  = "canceled"
	Skipped   = "skipped"
)

// Done says whether a status is final.
func Done(status string) bool {
	switch status {
	case Queued, Running, Waiting, "":
		return false
	}
	return true
}

// Job is one attempt of a job of a build.
type Job struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	From         string     `json:"from,omitempty"` // ID of the job of an earlier build that this was taken over from, instead of run
	Needs        []string   `json:"needs,omitempty"`
	AllowFailure bool       `json:"allowFailure,omitempty"`
	Status       string     `json:"status"`
	Reason       string     `json:"reason,omitempty"`
	Queued       time.Time  `json:"queued"`
	Started      time.Time  `json:"started,omitzero"`
	Ended        time.Time  `json:"ended,omitzero"`
	Environment  Placed     `json:"environment,omitzero"`
	Steps        []Step     `json:"steps,omitempty"`
	Exports      []Variable `json:"exportedVariables,omitempty"`
	Artifacts    []Artifact `json:"artifacts,omitempty"`
	Reports      []Report   `json:"reports,omitempty"`
	Cache        []CacheUse `json:"cache,omitempty"`
	Usage        Usage      `json:"usage,omitzero"`
	Charge       *Charge    `json:"charge,omitempty"` // of one that held a sandbox and ended
}

// Step is one phase, command or action that began.
type Step struct {
	ID          string           `json:"id"`
	Kind        string           `json:"kind"` // phase, command, action
	Phase       string           `json:"phase"`
	Title       string           `json:"title,omitempty"`
	Pos         Pos              `json:"pos,omitzero"`
	Attempt     int              `json:"attempt,omitempty"`
	Finally     bool             `json:"finally,omitempty"`
	Status      string           `json:"status"`
	Exit        *Exit            `json:"exit,omitempty"`
	Contexts    []PhaseContext   `json:"contexts,omitempty"`
	Note        string           `json:"note,omitempty"`
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

// Exit is how a command ended.
type Exit struct {
	Code   int       `json:"code"`
	Signal string    `json:"signal,omitempty"`
	OOM    bool      `json:"oom,omitempty"`
	Ended  time.Time `json:"ended"`
	Usage  Usage     `json:"usage,omitzero"`
}

// PhaseContext is CodeBuild's code and message of a phase.
type PhaseContext struct {
	Code    string `json:"statusCode"`
	Message string `json:"message"`
}

// Pos is a place in a definition; 0 = not known.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// Problem is one thing wrong with a definition.
type Problem struct {
	Pos
	Severity string `json:"severity"` // error, warning
	Message  string `json:"message"`
}

// Placed says where a job ran.
type Placed struct {
	Executor  string           `json:"executor"`
	Image     string           `json:"image,omitempty"`
	Digest    string           `json:"digest,omitempty"`
	Isolation string           `json:"isolation,omitempty"`
	Size      string           `json:"size,omitempty"`
	CPUs      float64          `json:"cpus,omitempty"`
	Memory    int64            `json:"memory,omitempty"`
	Versions  []RuntimeVersion `json:"versions,omitempty"`
}

// RuntimeVersion is one selected version of a language.
type RuntimeVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Pos     Pos    `json:"pos"`
}

// Usage is what a job or command took; 0 = not measured.
type Usage struct {
	CPUSeconds  float64 `json:"cpuSeconds,omitempty"`
	PeakMemory  int64   `json:"peakMemory,omitempty"`
	OOMKills    int     `json:"oomKills,omitempty"`
	PeakCPUs    float64 `json:"peakCPUs,omitempty"`    // processors busy at once, over a second or more
	DiskRead    int64   `json:"diskRead,omitempty"`    // bytes from the disk
	DiskWritten int64   `json:"diskWritten,omitempty"` // bytes to the disk
	NetIn       int64   `json:"netIn,omitempty"`       // bytes received, where the network is the sandbox's own
	NetOut      int64   `json:"netOut,omitempty"`      // bytes sent, the same
}

// Artifact is files kept after a job. Path is its name for OpenArtifact.
type Artifact struct {
	ID     string `json:"id,omitempty"`
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`
	Format string `json:"format"` // zip, folder
	Files  int    `json:"files"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	MD5    string `json:"md5,omitempty"`
	Blob   string `json:"blob,omitempty"`
}

// CacheUse is what became of one cache in one job.
type CacheUse struct {
	Action string `json:"action"`
	Key    string `json:"key,omitempty"`
	Hit    string `json:"hit,omitempty"`
	Result string `json:"result"`
	Size   int64  `json:"size,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Tried are the keys that were looked for, in order: the exact one, then beginnings of others.
	Tried []string `json:"tried,omitempty"`
}

// Source is what is built.
type Source struct {
	Type     string `json:"type"`     // directory, git, upload
	Location string `json:"location"` // path, URL, or what the answer to an upload has
	Version  string `json:"version,omitempty"`
}

// Commit is the state of the source that was built.
type Commit struct {
	Hash    string    `json:"hash,omitempty"`
	Ref     string    `json:"ref,omitempty"`
	Dirty   bool      `json:"dirty,omitempty"`
	Author  string    `json:"author,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Time    time.Time `json:"time,omitzero"`
}

// Kinds of Variable.
const (
	Plain          = "PLAINTEXT"
	ParameterStore = "PARAMETER_STORE"
	SecretsManager = "SECRETS_MANAGER"
)

// Variable is one environment variable. Of a secret kind, Value is the
// reference and never the secret.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Kind  string `json:"kind,omitempty"` // "" = Plain
}

// Runtime is where jobs run; zero values are the project's or the server's choice.
type Runtime struct {
	Executor   string  `json:"executor,omitempty"`
	Image      string  `json:"image,omitempty"`
	Type       string  `json:"type,omitempty"`
	Size       string  `json:"size,omitempty"`
	CPUs       float64 `json:"cpus,omitempty"`
	Memory     int64   `json:"memory,omitempty"`
	Processes  int64   `json:"processes,omitempty"`
	Privileged bool    `json:"privileged,omitempty"`
	Isolation  string  `json:"isolation,omitempty"`
	Network    string  `json:"network,omitempty"`
	Dockerfile string  `json:"dockerfile,omitempty"`
}

// Limits of a build. Times are nanoseconds on the wire.
type Limits struct {
	Timeout time.Duration `json:"timeout,omitempty"` // of each job; 0 = 60 minutes
	Jobs    int           `json:"jobs,omitempty"`    // at once; 0 = as many as there is room for
	Builds  int           `json:"builds,omitempty"`  // of the project at once; 0 = the same
	Queue   time.Duration `json:"queue,omitempty"`   // that a build may wait to begin; 0 = for ever

	AutoRetry int    `json:"autoRetry,omitempty"` // how often a build that failed is tried again by itself; 0 = not
	Supersede string `json:"supersede,omitempty"` // which older builds of the branch end when it begins: queued, all; "" = none
	WhenFull  string `json:"whenFull,omitempty"`  // what becomes of it when the project has Builds: refuse; "" = it waits
}

// BuildRef names a build of any project.
type BuildRef struct {
	ID      string `json:"id"`
	Project string `json:"project"`
	Number  int64  `json:"number"`
}

// Event is one stored transition of a build.
type Event struct {
	Seq    int64           `json:"seq"` // counts from 1 within the build
	Time   time.Time       `json:"time"`
	Type   string          `json:"type"`
	Build  string          `json:"build"`
	Job    string          `json:"job,omitempty"`
	Step   string          `json:"step,omitempty"`
	Status string          `json:"status,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"` // the Build, Job or Step as it then was
	Why    *Decision       `json:"why,omitempty"`  // what brought it about; nil = nothing had to be decided
}
