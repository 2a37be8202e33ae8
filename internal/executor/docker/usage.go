package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Usage is what the container took so far: from its cgroups where they are this
// machine's, else from the engine's statistics, which know no peak of memory
// with cgroup v2. What cannot be known is zero.
func (s *Sandbox) Usage(ctx context.Context) (ci.Usage, error) {
	found, err := s.exec.find(ctx, s.id)
	if err != nil {
		return ci.Usage{}, fmt.Errorf("usage of container %s: %w", s.name, err)
	}
	if found == nil || found.State == nil || !found.State.Running {
		return ci.Usage{}, fmt.Errorf("usage of container %s: %w", s.name, errEnded)
	}
	if g := cgroupsOf(found.State.Pid, s.id); g != nil {
		return g.usage(), nil
	}
	return s.engineUsage(ctx)
}

func (s *Sandbox) engineUsage(ctx context.Context) (ci.Usage, error) {
	res, err := s.exec.api.ContainerStats(ctx, s.id, client.ContainerStatsOptions{})
	if err != nil {
		return ci.Usage{}, fmt.Errorf("usage of container %s: %w", s.name, s.exec.explain(err))
	}
	defer func() { _ = res.Body.Close() }()
	var st struct {
		CPU struct {
			Usage struct {
				Total uint64 `json:"total_usage"`
			} `json:"cpu_usage"`
		} `json:"cpu_stats"`
		Memory struct {
			Max uint64 `json:"max_usage"`
		} `json:"memory_stats"`
	}
	if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
		return ci.Usage{}, fmt.Errorf("usage of container %s: %w: %w", s.name, err, ci.ErrUnavailable)
	}
	return ci.Usage{CPUSeconds: float64(st.CPU.Usage.Total) / 1e9, PeakMemory: int64(st.Memory.Max)}, nil
}

// cgroups are the directories of one container: with v2 all the same one.
type cgroups struct{ v2, memory, cpu string }

// cgroupsOf finds them by the container's first process; nil when that is not a
// process of this machine (a remote engine may have any process of that number).
func cgroupsOf(pid int, id string) *cgroups {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if pid <= 0 || err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var g cgroups
	for sc := bufio.NewScanner(f); sc.Scan(); {
		parts := strings.SplitN(sc.Text(), ":", 3)
		if len(parts) != 3 || !strings.Contains(parts[2], id) {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			switch controller {
			case "":
				g.v2 = "/sys/fs/cgroup" + parts[2]
			case "memory":
				g.memory = "/sys/fs/cgroup/memory" + parts[2]
			case "cpuacct":
				g.cpu = "/sys/fs/cgroup/cpuacct" + parts[2]
			}
		}
	}
	if g.memory == "" && !readable(g.v2+"/memory.current") {
		return nil
	}
	return &g
}

func readable(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (g *cgroups) usage() ci.Usage {
	if g.memory != "" {
		return ci.Usage{
			CPUSeconds: float64(number(g.cpu+"/cpuacct.usage", "")) / 1e9,
			PeakMemory: number(g.memory+"/memory.max_usage_in_bytes", ""),
			OOMKills:   int(number(g.memory+"/memory.oom_control", "oom_kill")),
		}
	}
	return ci.Usage{
		CPUSeconds: float64(number(g.v2+"/cpu.stat", "usage_usec")) / 1e6,
		PeakMemory: number(g.v2+"/memory.peak", ""),
		OOMKills:   int(number(g.v2+"/memory.events", "oom_kill")),
	}
}

// number reads the number of a key from a cgroup file, or the file's only one;
// 0 when it is not there.
func number(path, key string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		name, value, ok := strings.Cut(line, " ")
		if key == "" {
			name, value, ok = "", line, true
		}
		if !ok || name != key {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
