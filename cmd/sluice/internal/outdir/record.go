package outdir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/report"
)

// RecordVersion is the version of the shape of build.json. A field may be added
// without a new version; none changes its meaning.
const RecordVersion = 1

// Record is build.json. The fields of Outcome describe the build's only job; of a
// batch they bring the jobs together, and each job has its own in Jobs.
type Record struct {
	Version       int          `json:"version"`
	ID            ci.BuildID   `json:"id"`
	Number        int64        `json:"number"`
	Project       string       `json:"project"`
	Status        ci.Status    `json:"status"`
	BuildStatus   string       `json:"buildStatus"` // in CodeBuild's words
	ExitCode      int          `json:"exitCode"`    // of sluice run
	Reason        string       `json:"reason,omitempty"`
	Initiator     string       `json:"initiator"`
	Source        ci.Source    `json:"source"`
	Commit        ci.Commit    `json:"commit,omitzero"`
	File          string       `json:"file,omitempty"`
	Batch         bool         `json:"batch,omitempty"`
	Queued        time.Time    `json:"queued"`
	Started       time.Time    `json:"started,omitzero"`
	Ended         time.Time    `json:"ended,omitzero"`
	MeteredSecond int64        `json:"meteredSeconds"`
	Problems      []ci.Problem `json:"problems,omitempty"`
	Warnings      []ci.Problem `json:"warnings,omitempty"`
	Environment   ci.Placed    `json:"environment,omitzero"`
	Outcome
	Jobs []Job `json:"jobs,omitempty"`
}

// Outcome is what came of one job, or of all of them.
type Outcome struct {
	Phases    []Phase           `json:"phases,omitempty"`
	Commands  []Command         `json:"commands,omitempty"`
	Exported  map[string]string `json:"exportedVariables,omitempty"`
	Artifacts []ci.Artifact     `json:"artifacts,omitempty"`
	Tests     *ci.TestSummary   `json:"tests,omitempty"` // of all reports
	Coverage  *Coverage         `json:"coverage,omitempty"`
	Reports   []ci.Report       `json:"reports,omitempty"`
	Cache     []ci.CacheUse     `json:"cache,omitempty"`
	Usage     ci.Usage          `json:"usage,omitzero"`
}

// Job is one job of a batch.
type Job struct {
	ID           ci.JobID  `json:"id"`
	Name         string    `json:"name"`
	Attempt      int       `json:"attempt"`
	Needs        []string  `json:"needs,omitempty"`
	AllowFailure bool      `json:"allowFailure,omitempty"`
	Status       ci.Status `json:"status"`
	BuildStatus  string    `json:"buildStatus"`
	Reason       string    `json:"reason,omitempty"`
	Queued       time.Time `json:"queued"`
	Started      time.Time `json:"started,omitzero"`
	Ended        time.Time `json:"ended,omitzero"`
	Environment  ci.Placed `json:"environment,omitzero"`
	Outcome
}

// Phase is a phase as the CodeBuild API gives it.
type Phase struct {
	Type     ci.Phase          `json:"phaseType"`
	Status   string            `json:"phaseStatus"`
	Start    time.Time         `json:"startTime"`
	End      time.Time         `json:"endTime,omitzero"`
	Seconds  float64           `json:"durationInSeconds"`
	Contexts []ci.PhaseContext `json:"contexts,omitempty"`
}

// Command is one command of the definition that began.
type Command struct {
	Phase    ci.Phase  `json:"phase"`
	Command  string    `json:"command"`
	File     string    `json:"file,omitempty"`
	Line     int       `json:"line,omitempty"`
	Attempt  int       `json:"attempt,omitempty"`
	Finally  bool      `json:"finally,omitempty"`
	Status   ci.Status `json:"status"`
	ExitCode *int      `json:"exitCode,omitempty"` // nil: it did not end by itself
	Signal   string    `json:"signal,omitempty"`
	OOM      bool      `json:"outOfMemory,omitempty"`
	Start    time.Time `json:"startTime"`
	Seconds  float64   `json:"durationInSeconds"`
	Usage    ci.Usage  `json:"usage,omitzero"`
	Step     ci.StepID `json:"step"`
}

// Coverage is a summary with its percentages.
type Coverage struct {
	ci.Coverage
	LinePercent   float64 `json:"linePercent"`
	BranchPercent float64 `json:"branchPercent"`
}

// Describe makes the record of a build. hide masks secrets in texts that the
// build's commands or its definition had a hand in.
func Describe(b *ci.Build, exit int, hide func(string) string) *Record {
	r := &Record{
		Version: RecordVersion, ID: b.ID, Number: b.Number, Project: b.Project,
		Status: b.Status, BuildStatus: b.Status.CodeBuild(), ExitCode: exit, Reason: hide(b.Reason),
		Initiator: b.Initiator, Source: b.Source, Commit: b.Commit, File: b.File, Batch: b.Batch,
		Queued: b.Queued, Started: b.Started, Ended: b.Ended, MeteredSecond: b.Metered, Problems: b.Problems,
	}
	if b.Plan != nil {
		r.Warnings = b.Plan.Warnings
	}
	for i := range b.Jobs {
		run := &b.Jobs[i]
		j := Job{
			ID: run.ID, Name: run.Name, Attempt: run.ID.Attempt(), Needs: run.Needs, AllowFailure: run.AllowFailure,
			Status: run.Status, BuildStatus: run.Status.CodeBuild(), Reason: hide(run.Reason),
			Queued: run.Queued, Started: run.Started, Ended: run.Ended,
			Environment: run.Environment, Outcome: outcome(b, run, hide),
		}
		r.Jobs = append(r.Jobs, j)
	}
	if !b.Batch && len(r.Jobs) == 1 {
		r.Environment, r.Outcome = r.Jobs[0].Environment, r.Jobs[0].Outcome
		r.Jobs = nil
		return r
	}
	r.Outcome = together(r.Jobs)
	return r
}

func outcome(b *ci.Build, run *ci.JobRun, hide func(string) string) Outcome {
	o := Outcome{Artifacts: run.Artifacts, Reports: run.Reports, Cache: run.Cache, Usage: run.Usage, Phases: waiting(b, run)}
	for i := range run.Steps {
		s := &run.Steps[i]
		switch s.Kind {
		case ci.KindPhase:
			o.Phases = append(o.Phases, Phase{
				Type: s.Phase, Status: s.Status.CodeBuild(), Start: s.Started, End: s.Ended,
				Seconds: seconds(s.Started, s.Ended), Contexts: hideContexts(s.Contexts, hide),
			})
		case ci.KindCommand:
			o.Commands = append(o.Commands, command(s, hide))
		}
	}
	for _, v := range run.Exports {
		if o.Exported == nil {
			o.Exported = map[string]string{}
		}
		o.Exported[v.Name] = hide(v.Value)
	}
	o.Tests, o.Coverage = Totals(run.Reports)
	return o
}

// waiting are the phases that a job goes through before it has a sandbox.
func waiting(b *ci.Build, run *ci.JobRun) []Phase {
	if run.Started.IsZero() {
		return nil
	}
	ok, none := ci.Succeeded.CodeBuild(), []ci.PhaseContext{{}}
	return []Phase{
		{Type: ci.PhaseSubmitted, Status: ok, Start: b.Queued, End: run.Queued, Seconds: seconds(b.Queued, run.Queued), Contexts: none},
		{Type: ci.PhaseQueued, Status: ok, Start: run.Queued, End: run.Started, Seconds: seconds(run.Queued, run.Started), Contexts: none},
	}
}

func command(s *ci.StepRun, hide func(string) string) Command {
	c := Command{
		Phase: s.Phase, Command: hide(s.Title), File: s.Pos.File, Line: s.Pos.Line, Attempt: s.Attempt, Finally: s.Finally,
		Status: s.Status, Start: s.Started, Seconds: seconds(s.Started, s.Ended), Step: s.ID,
	}
	if s.Exit != nil {
		c.ExitCode, c.Signal, c.OOM, c.Usage = &s.Exit.Code, s.Exit.Signal, s.Exit.OOM, s.Exit.Usage
	}
	return c
}

func hideContexts(contexts []ci.PhaseContext, hide func(string) string) []ci.PhaseContext {
	out := make([]ci.PhaseContext, len(contexts))
	for i, c := range contexts {
		out[i] = ci.PhaseContext{Code: c.Code, Message: hide(c.Message)}
	}
	return out
}

// Totals adds up the tests and the coverage of reports; nil where there is none.
func Totals(reports []ci.Report) (*ci.TestSummary, *Coverage) {
	var tests *ci.TestSummary
	var cover *Coverage
	for i := range reports {
		r := &reports[i]
		if r.Type == "CODE_COVERAGE" {
			if cover == nil {
				cover = &Coverage{}
			}
			cover.LinesCovered += r.Coverage.LinesCovered
			cover.LinesMissed += r.Coverage.LinesMissed
			cover.BranchesCovered += r.Coverage.BranchesCovered
			cover.BranchesMissed += r.Coverage.BranchesMissed
			continue
		}
		if tests == nil {
			tests = &ci.TestSummary{}
		}
		tests.Total += r.Summary.Total
		tests.Succeeded += r.Summary.Succeeded
		tests.Failed += r.Summary.Failed
		tests.Error += r.Summary.Error
		tests.Skipped += r.Summary.Skipped
		tests.Unknown += r.Summary.Unknown
		tests.Duration += r.Summary.Duration
	}
	if cover != nil {
		cover.LinePercent, cover.BranchPercent = cover.Coverage.LinePercent(), cover.Coverage.BranchPercent()
	}
	return tests, cover
}

// together sums up the jobs of a batch.
func together(jobs []Job) Outcome {
	var o Outcome
	for _, j := range jobs {
		o.Artifacts = append(o.Artifacts, j.Artifacts...)
		o.Cache = append(o.Cache, j.Cache...)
		o.Reports = append(o.Reports, j.Reports...)
		o.Usage.CPUSeconds += j.Usage.CPUSeconds
		o.Usage.OOMKills += j.Usage.OOMKills
		o.Usage.PeakMemory = max(o.Usage.PeakMemory, j.Usage.PeakMemory)
	}
	o.Reports = report.MergeAll(o.Reports)
	o.Tests, o.Coverage = Totals(o.Reports)
	return o
}

func seconds(from, to time.Time) float64 {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return to.Sub(from).Seconds()
}

// WriteRecord writes build.json. It is the last thing written of a build.
func (d *Dir) WriteRecord(r *Record) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write %s: %w", RecordFile, err)
	}
	if err := replace(filepath.Join(d.path, RecordFile), text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", RecordFile, err)
	}
	return nil
}
