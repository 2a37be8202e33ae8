package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Sweep removes this owner's containers and folders of jobs that are not live.
// It goes on after a failure and then says all of them.
func (e *Executor) Sweep(ctx context.Context, live func(ci.JobID) bool) error {
	list, err := e.api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", labelOwner+"="+e.cfg.Owner),
	})
	if err != nil {
		return fmt.Errorf("sweep containers: %w", e.explain(err))
	}
	var problems []error
	for _, c := range list.Items {
		job := ci.JobID(c.Labels[labelJob])
		if job == "" || live(job) {
			continue
		}
		if err := e.remove(ctx, c.ID); err != nil {
			problems = append(problems, fmt.Errorf("sweep the container of %s: %w", job, err))
			continue
		}
	}
	return errors.Join(append(problems, e.sweepFolders(live))...)
}

// jobFile says in a container's folder whose it is, where the container cannot
// reach it.
const jobFile = "job"

// halfMade is how old a folder that names no job yet must be before its maker is
// taken for dead.
const halfMade = time.Hour

// sweepFolders removes folders whose container is gone.
func (e *Executor) sweepFolders(live func(ci.JobID) bool) error {
	folders, err := filepath.Glob(filepath.Join(e.folders(), "*"))
	if err != nil {
		return fmt.Errorf("sweep %s: %w", e.cfg.Root, err)
	}
	var problems []error
	for _, f := range folders {
		job, err := os.ReadFile(filepath.Join(f, jobFile))
		if err != nil || len(job) == 0 {
			if info, err := os.Stat(f); err != nil || time.Since(info.ModTime()) < halfMade {
				continue
			}
		} else if live(ci.JobID(job)) {
			continue
		}
		if err := os.RemoveAll(f); err != nil {
			problems = append(problems, fmt.Errorf("sweep the folder of %s: %w", job, err))
		}
	}
	return errors.Join(problems...)
}
