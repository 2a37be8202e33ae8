package ci

import "time"

// PlanVersion is the version of the Plan's shape that this code writes.
const PlanVersion = 1

// Plan is what a definition compiles to: jobs in a graph. It is plain data: the
// same definition gives the same plan, it is stored with the build, and it may
// only grow.
type Plan struct {
	Version  int       `json:"version"`
	Format   string    `json:"format"` // the front end that made it: "buildspec"
	File     string    `json:"file"`
	FailFast bool      `json:"failFast,omitempty"` // the first failed job stops those that run
	Jobs     []Job     `json:"jobs"`
	Warnings []Problem `json:"warnings,omitempty"`
}

// Job is the unit of placement: one sandbox, phases in order.
type Job struct {
	Name         string           `json:"name"`
	Needs        []string         `json:"needs,omitempty"` // jobs that must have ended well, or be allowed to fail
	AllowFailure bool             `json:"allowFailure,omitempty"`
	Debug        bool             `json:"debug,omitempty"` // debug-session: breakpoints pause
	Runtime      Runtime          `json:"runtime"`
	Versions     []RuntimeVersion `json:"versions,omitempty"`   // install.runtime-versions
	Variables    []Variable       `json:"variables,omitempty"`  // those that the build was started with replace them
	Own          []Variable       `json:"own,omitempty"`        // of this build of a batch; they replace both
	Shell        string           `json:"shell,omitempty"`      // "sh" (default), "bash" or a path
	FreshShell   bool             `json:"freshShell,omitempty"` // buildspec 0.1: nothing carries over from command to command
	Phases       []PhasePlan      `json:"phases"`
	Reports      []ReportSpec     `json:"reports,omitempty"`
	Artifacts    []ArtifactSpec   `json:"artifacts,omitempty"`
	Cache        *CacheSpec       `json:"cache,omitempty"`
	Exports      []string         `json:"exports,omitempty"` // env.exported-variables
	GitHelper    bool             `json:"gitHelper,omitempty"`
}

// Runtime is where a job runs. Zero values mean "the project's", and for
// `sluice run` "what the command line says".
type Runtime struct {
	Executor   string  `json:"executor,omitempty"` // local, docker, kube
	Image      string  `json:"image,omitempty"`
	Type       string  `json:"type,omitempty"`      // CodeBuild's environment type, as written
	Size       string  `json:"size,omitempty"`      // CodeBuild's compute type, as written
	CPUs       float64 `json:"cpus,omitempty"`      // limit; 0 = none
	Memory     int64   `json:"memory,omitempty"`    // bytes, limit; 0 = none
	Processes  int64   `json:"processes,omitempty"` // limit; 0 = the executor's default
	Privileged bool    `json:"privileged,omitempty"`
	Isolation  string  `json:"isolation,omitempty"`  // local executor: none, sandbox, gvisor
	Network    string  `json:"network,omitempty"`    // "" = the executor's default, host, none
	Dockerfile string  `json:"dockerfile,omitempty"` // build the image from this file of the source
}

// RuntimeVersion is one entry of install.runtime-versions, its version as written.
type RuntimeVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Pos     Pos    `json:"pos"`
}

// VariableKind says where a variable's value comes from.
type VariableKind string

// Kinds of Variable. The last three are secret: their values are looked up when
// the job starts, masked in the output and never stored.
const (
	Plain          VariableKind = "PLAINTEXT"
	ParameterStore VariableKind = "PARAMETER_STORE"
	SecretsManager VariableKind = "SECRETS_MANAGER"
	LocalSecret    VariableKind = "SECRET" // given to this build, by --secret
)

// Variable is one environment variable. For a secret kind Value is the reference,
// never the secret.
type Variable struct {
	Name  string       `json:"name"`
	Value string       `json:"value"`
	Kind  VariableKind `json:"kind,omitempty"` // "" = Plain
}

// Secret says whether the value must be looked up and masked.
func (v Variable) Secret() bool { return v.Kind != "" && v.Kind != Plain }

// Phase is a fixed CodeBuild phase name (Build.phases[].phaseType).
type Phase string

// The phases in the order a build goes through them.
const (
	PhaseSubmitted       Phase = "SUBMITTED"
	PhaseQueued          Phase = "QUEUED"
	PhaseProvisioning    Phase = "PROVISIONING"
	PhaseDownloadSource  Phase = "DOWNLOAD_SOURCE"
	PhaseInstall         Phase = "INSTALL"
	PhasePreBuild        Phase = "PRE_BUILD"
	PhaseBuild           Phase = "BUILD"
	PhasePostBuild       Phase = "POST_BUILD"
	PhaseUploadArtifacts Phase = "UPLOAD_ARTIFACTS"
	PhaseFinalizing      Phase = "FINALIZING"
	PhaseCompleted       Phase = "COMPLETED"
)

// PhasePlan is one of the four phases that hold commands. A phase that the
// definition leaves out is still entered, with no commands.
type PhasePlan struct {
	Phase     Phase       `json:"phase"`
	User      string      `json:"user,omitempty"` // run-as, phase over global
	Steps     []Step      `json:"steps,omitempty"`
	Finally   []Step      `json:"finally,omitempty"`
	OnFailure FailureRule `json:"onFailure,omitzero"`
}

// Step is one command: one script, run by the job's shell.
type Step struct {
	Run string `json:"run"`
	Pos Pos    `json:"pos"`
}

// FailureAction says what a failed phase means for the rest of its job.
type FailureAction string

// Actions of on-failure (codebuild.md 1.5.1); "" is the standard transition table.
const (
	FailStandard FailureAction = ""
	FailAbort    FailureAction = "ABORT"
	FailContinue FailureAction = "CONTINUE"
	FailRetry    FailureAction = "RETRY"
)

// FailureRule is a parsed on-failure. With FailRetry the phase's commands run
// again in the same sandbox, up to Retries more times, while the error message
// matches Pattern (RE2, unanchored; "" matches all).
type FailureRule struct {
	Action  FailureAction `json:"action,omitempty"`
	Retries int           `json:"retries,omitempty"`
	Pattern string        `json:"pattern,omitempty"`
}

// FileSet chooses files: Globs below Base, less Excludes. `*` stays inside one
// path component, `**` crosses; dot files match. Base may be a glob of
// directories and is relative to Dir unless absolute; "" is Dir itself.
// Globs may be absolute or begin with "~/", then Base does not apply to them.
type FileSet struct {
	Dir      string   `json:"dir,omitempty"` // absolute, in the sandbox
	Base     string   `json:"base,omitempty"`
	Globs    []string `json:"globs"`
	Excludes []string `json:"excludes,omitempty"` // relative to Base
	Symlinks bool     `json:"symlinks,omitempty"` // keep links as links; else what they point to, if below Dir
	Dirs     bool     `json:"dirs,omitempty"`     // a glob that names a directory takes all below it
}

// ReportSpec is one group of buildspec `reports`.
type ReportSpec struct {
	Group   string   `json:"group"` // may hold $VARIABLES
	Base    string   `json:"base,omitempty"`
	Files   []string `json:"files"`
	Format  string   `json:"format"` // upper case: JUNITXML, …; codebuild.md 1.6
	Flatten bool     `json:"flatten,omitempty"`
	Pos     Pos      `json:"pos"`
}

// ArtifactSpec is the primary artifact (ID "") or a secondary one.
type ArtifactSpec struct {
	ID       string   `json:"id,omitempty"`
	Name     string   `json:"name,omitempty"` // evaluated by the job's shell
	Base     string   `json:"base,omitempty"`
	Files    []string `json:"files"`
	Excludes []string `json:"excludes,omitempty"`
	Flatten  bool     `json:"flatten,omitempty"` // discard-paths
	Symlinks bool     `json:"symlinks,omitempty"`
	Prefix   string   `json:"prefix,omitempty"` // s3-prefix
	Pos      Pos      `json:"pos"`
}

// CacheSpec is buildspec `cache`.
type CacheSpec struct {
	Paths    []string `json:"paths"`
	Key      string   `json:"key,omitempty"` // evaluated by the job's shell
	Fallback []string `json:"fallback,omitempty"`
	Restore  bool     `json:"restore"`
	Save     bool     `json:"save"`
	Pos      Pos      `json:"pos"`
}

// Limits of one build that come from the project or the command line.
type Limits struct {
	Timeout time.Duration `json:"timeout,omitempty"` // of each job; 0 = the default, 60 minutes
	Jobs    int           `json:"jobs,omitempty"`    // at once; 0 = as many as the machine takes
	Builds  int           `json:"builds,omitempty"`  // of the project at once; 0 = as many as the machine takes
	Queue   time.Duration `json:"queue,omitempty"`   // that the build may wait for its first job to begin; 0 = for ever

	AutoRetry int    `json:"autoRetry,omitempty"` // how often a build that failed is tried again by itself; 0 = not
	Supersede string `json:"supersede,omitempty"` // which older builds of the branch end when it begins: queued, all; "" = none
	WhenFull  string `json:"whenFull,omitempty"`  // what becomes of it when the project has Builds: refuse; "" = it waits
}
