package ci

import (
	"encoding/json"
	"fmt"
)

// NewEvent packs the record that the event is about. data is a Build, JobRun or
// StepRun; what cannot be encoded is a programmer's error and panics.
func NewEvent(t EventType, data any) Event {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("ci: event %s: %v", t, err))
	}
	e := Event{Type: t, Data: raw, body: data}
	switch d := data.(type) {
	case Build:
		e.Build, e.Status = d.ID, d.Status
	case JobRun:
		e.Build, e.Job, e.Status = d.ID.Build(), d.ID, d.Status
	case StepRun:
		e.Job = d.ID.Job()
		e.Build, e.Step, e.Status = e.Job.Build(), d.ID, d.Status
	}
	return e
}

// Apply brings b up to date with an event of its own. An event whose move the
// state machine does not know is refused with ErrConflict and changes nothing.
// Applying all events of a build in order, to an empty Build, makes the Build.
func (b *Build) Apply(e Event) error {
	switch e.Type {
	case EventBuildQueued:
		if b.ID != "" {
			return fmt.Errorf("build %s: queued twice: %w", b.ID, ErrConflict)
		}
		return decode(e, b)
	case EventBuildStarted, EventBuildFinished, EventCancel, EventBuildTaken:
		return b.applyBuild(e)
	case EventJobQueued, EventJobStarted, EventJobFinished:
		return b.applyJob(e)
	case EventStepStarted, EventStepFinished:
		return b.applyStep(e)
	}
	return fmt.Errorf("event %q of build %s: not a stored event: %w", e.Type, e.Build, ErrInvalid)
}

// decode reads the record that the event is about.
func decode[T Build | JobRun | StepRun](e Event, into *T) error {
	if body, ok := e.body.(T); ok {
		*into = body
		return nil
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		return fmt.Errorf("event %d (%s) of build %s: %w: %w", e.Seq, e.Type, e.Build, err, ErrInvalid)
	}
	return nil
}

func (b *Build) applyBuild(e Event) error {
	var to Build
	if err := decode(e, &to); err != nil {
		return err
	}
	if b.Status != to.Status && !b.Status.CanBecome(to.Status) {
		return fmt.Errorf("build %s: %s cannot become %s: %w", b.ID, b.Status, to.Status, ErrConflict)
	}
	if b.Status.Done() {
		return fmt.Errorf("build %s: already %s: %w", b.ID, b.Status, ErrConflict)
	}
	jobs, plan := b.Jobs, b.Plan
	*b = to
	if b.Jobs == nil {
		b.Jobs = jobs
	}
	if b.Plan == nil {
		b.Plan = plan
	}
	return nil
}

func (b *Build) applyJob(e Event) error {
	var to JobRun
	if err := decode(e, &to); err != nil {
		return err
	}
	j := b.Job(to.ID)
	if j == nil {
		if e.Type != EventJobQueued {
			return fmt.Errorf("job %s: never queued: %w", to.ID, ErrConflict)
		}
		b.Jobs = append(b.Jobs, to)
		return nil
	}
	if !j.Status.CanBecome(to.Status) {
		return fmt.Errorf("job %s: %s cannot become %s: %w", to.ID, j.Status, to.Status, ErrConflict)
	}
	if to.Steps == nil {
		to.Steps = j.Steps
	}
	*j = to
	return nil
}

func (b *Build) applyStep(e Event) error {
	var to StepRun
	if err := decode(e, &to); err != nil {
		return err
	}
	j := b.Job(to.ID.Job())
	if j == nil {
		return fmt.Errorf("step %s: its job was never queued: %w", to.ID, ErrConflict)
	}
	if j.Status != Running {
		return fmt.Errorf("step %s: its job is %s: %w", to.ID, j.Status, ErrConflict)
	}
	s := j.Step(to.ID)
	if s == nil {
		j.Steps = append(j.Steps, to)
		return nil
	}
	if !s.Status.CanBecome(to.Status) {
		return fmt.Errorf("step %s: %s cannot become %s: %w", to.ID, s.Status, to.Status, ErrConflict)
	}
	*s = to
	return nil
}

// Step finds a step by its ID; nil when it never began.
func (j *JobRun) Step(id StepID) *StepRun {
	// Newest last, and it is nearly always the newest that is asked for.
	for i := len(j.Steps) - 1; i >= 0; i-- {
		if j.Steps[i].ID == id {
			return &j.Steps[i]
		}
	}
	return nil
}
