package runner

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Patient is a desk that asks d again while d cannot take what it is told:
// because its disk is full, or its database is away. Jobs go on meanwhile, and
// what they did is recorded when it can be. What will never be taken (ErrInvalid,
// ErrNotFound, ErrConflict, ErrDenied) is an error at once.
func Patient(d Desk, pause time.Duration, log *slog.Logger) Desk {
	return &patient{desk: d, pause: pause, log: log}
}

type patient struct {
	desk  Desk
	pause time.Duration
	log   *slog.Logger
}

func (p *patient) Claim(ctx context.Context, who ci.RunnerInfo) (a *ci.Assignment, err error) {
	err = p.insist(ctx, "claim a job", func() error {
		a, err = p.desk.Claim(ctx, who)
		return err
	})
	return a, err
}

func (p *patient) Renew(ctx context.Context, id ci.JobID) (cause, err error) {
	err = p.insist(ctx, "renew the claim on "+string(id), func() error {
		cause, err = p.desk.Renew(ctx, id)
		return err
	})
	return cause, err
}

func (p *patient) StepStarted(ctx context.Context, s ci.StepRun) error {
	return p.insist(ctx, "record the start of "+string(s.ID), func() error { return p.desk.StepStarted(ctx, s) })
}

func (p *patient) StepFinished(ctx context.Context, s ci.StepRun) error {
	return p.insist(ctx, "record the end of "+string(s.ID), func() error { return p.desk.StepFinished(ctx, s) })
}

func (p *patient) JobFinished(ctx context.Context, run ci.JobRun) error {
	return p.insist(ctx, "record the end of "+string(run.ID), func() error { return p.desk.JobFinished(ctx, run) })
}

func (p *patient) insist(ctx context.Context, what string, do func() error) error {
	for told := false; ; {
		err := do()
		if err == nil || ctx.Err() != nil || permanent(err) {
			return err
		}
		if !told {
			p.log.Error(what+": trying again until it can be stored", "err", err)
			told = true
		}
		select {
		case <-time.After(p.pause):
		case <-ctx.Done():
		}
	}
}

func permanent(err error) bool {
	for _, kind := range []error{ci.ErrInvalid, ci.ErrNotFound, ci.ErrConflict, ci.ErrDenied} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
