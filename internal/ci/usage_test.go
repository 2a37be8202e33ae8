package ci_test

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestUsageOfAJob(t *testing.T) {
	t.Parallel()
	commands := ci.Usage{CPUSeconds: 1, PeakMemory: 50, PeakCPUs: 2, DiskRead: 3, NetOut: 4}.
		With(ci.Usage{CPUSeconds: 2, PeakMemory: 40, PeakCPUs: 1, DiskRead: 5, DiskWritten: 6, NetIn: 7, OOMKills: 1})
	if want := (ci.Usage{CPUSeconds: 3, PeakMemory: 50, OOMKills: 1, PeakCPUs: 2, DiskRead: 8, DiskWritten: 6, NetIn: 7, NetOut: 4}); commands != want {
		t.Errorf("got %+v, want %+v", commands, want)
	}
	got := ci.Usage{CPUSeconds: 9, PeakMemory: 45}.Over(commands)
	if want := (ci.Usage{CPUSeconds: 9, PeakMemory: 50, OOMKills: 1, PeakCPUs: 2, DiskRead: 8, DiskWritten: 6, NetIn: 7, NetOut: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
