package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// JobSteps is a job with its steps as a tree: phases, and in them their commands
// and actions.
type JobSteps struct {
	ID     ci.JobID   `json:"id"`
	Name   string     `json:"name"`
	Status ci.Status  `json:"status"`
	Steps  []StepNode `json:"steps"`
}

// StepNode is a step with what there is of its log.
type StepNode struct {
	ci.StepRun
	Path  string     `json:"path"` // its name for StepLog
	Log   *LogInfo   `json:"log,omitempty"`
	Steps []StepNode `json:"steps,omitempty"`
}

// LogInfo is the state of a step's log.
type LogInfo struct {
	Size   int64 `json:"size"`
	Lines  int64 `json:"lines"`
	Sealed bool  `json:"sealed"` // no more will come
}

// Steps shows the steps of a build and how long their logs are.
func (a *App) Steps(ctx context.Context, project string, number int64) ([]JobSteps, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return nil, err
	}
	tree := make([]JobSteps, 0, len(b.Jobs))
	for _, j := range b.Jobs {
		top := JobSteps{ID: j.ID, Name: j.Name, Status: j.Status, Steps: []StepNode{}}
		phases := map[ci.Phase]int{}
		for _, s := range j.Steps {
			node := StepNode{StepRun: s, Path: stepPath(s.ID)}
			if s.Kind == ci.KindPhase {
				phases[s.Phase] = len(top.Steps)
				top.Steps = append(top.Steps, node)
				continue
			}
			if node.Log, err = a.logInfo(s.ID); err != nil {
				return nil, err
			}
			if at, ok := phases[s.Phase]; ok {
				top.Steps[at].Steps = append(top.Steps[at].Steps, node)
			} else {
				top.Steps = append(top.Steps, node)
			}
		}
		tree = append(tree, top)
	}
	return tree, nil
}

func (a *App) logInfo(id ci.StepID) (*LogInfo, error) {
	info, err := a.cfg.Logs.Stat(id)
	if errors.Is(err, ci.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &LogInfo{Size: info.Size, Lines: info.Lines, Sealed: info.Sealed}, nil
}

// stepPath is what names a step within its build.
func stepPath(id ci.StepID) string { return string(id)[len(id.Job().Build())+1:] }

// step finds a step of a build by its path.
func (a *App) step(ctx context.Context, project string, number int64, path string) (ci.BuildID, ci.StepRun, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return "", ci.StepRun{}, err
	}
	id := ci.StepID(string(b.ID) + "/" + path)
	if j := b.Job(id.Job()); j != nil {
		if s := j.Step(id); s != nil {
			return b.ID, *s, nil
		}
	}
	return "", ci.StepRun{}, fmt.Errorf("step %.200q of build %s/%d: %w: the steps of the build list their paths", path, project, number, ci.ErrNotFound)
}

// JobReport is a report of a job.
type JobReport struct {
	Job string `json:"job"`
	ci.Report
}

// Reports lists the reports of a build.
func (a *App) Reports(ctx context.Context, project string, number int64) ([]JobReport, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return nil, err
	}
	list := []JobReport{}
	for _, j := range b.Jobs {
		for _, r := range j.Reports {
			list = append(list, JobReport{jobName(j.ID), r})
		}
	}
	return list, nil
}

// jobName is a job's name within its build: "build", and "build#2" for its
// second attempt.
func jobName(id ci.JobID) string { return string(id)[len(id.Build())+1:] }

// Events finds the events of a build. The answer calls f with each from sequence
// number from (1 is the first) on, until the build is done and told, f returns
// false or its ctx ends.
func (a *App) Events(ctx context.Context, project string, number int64) (follow func(ctx context.Context, from int64, f func(ci.Event) bool) error, err error) {
	id, _, err := a.find(ctx, viewBuild, project, number)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, from int64, f func(ci.Event) bool) error {
		return a.cfg.Engine.Follow(ctx, id, from, func(e ci.Event) bool { return f(a.discreetly(ctx, e)) })
	}, nil
}
