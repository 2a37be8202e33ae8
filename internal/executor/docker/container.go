package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Labels of a job's container. They hold nothing that `docker ps` may not show.
const (
	labelOwner  = "dev.sluice.owner"
	labelJob    = "dev.sluice.job"
	labelFiles  = "dev.sluice.files"  // Bind or Copy
	labelPlaced = "dev.sluice.placed" // ci.Placed, for the Open that finds it
	labelFolder = "dev.sluice.folder" // with Bind: name of the container's folder below Root
)

// Paths in a container.
const (
	binDir     = "/codebuild/bin"
	exePath    = binDir + "/sluice"
	agentDir   = "/codebuild/agent"
	socketPath = agentDir + "/agent.sock"
	configPath = agentDir + "/agent.json"
)

// dirs of every container, as CodeBuild has them.
func dirs() ci.Dirs {
	return ci.Dirs{Source: "/codebuild/output/src/src", Home: "/root", Temp: "/codebuild/output/tmp"}
}

// containerName is the job's, for people to recognise, with a hash that makes it
// one owner's and one job's alone.
func (e *Executor) containerName(job ci.JobID) string {
	sum := sha256.Sum256([]byte(e.cfg.Owner + "\x00" + string(job)))
	readable := strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, string(job))
	if len(readable) > 48 {
		readable = readable[:48]
	}
	return "sluice-" + readable + "-" + hex.EncodeToString(sum[:8])
}

// recipe is all that a container is made from.
type recipe struct {
	name    string
	job     ci.JobID
	runtime ci.Runtime
	image   *localImage
	network string // of the engine: "default", "host", "none"
	files   string // Bind or Copy
	folder  string // with Bind: on this machine, of this container alone
	placed  ci.Placed
}

// createOptions describe the container to the engine.
func (e *Executor) createOptions(r recipe) (client.ContainerCreateOptions, error) {
	placed, err := json.Marshal(r.placed)
	if err != nil {
		return client.ContainerCreateOptions{}, fmt.Errorf("encode the label %s: %w", labelPlaced, err)
	}
	host := &container.HostConfig{
		AutoRemove:  true, // when the agent ends, nobody has to be there to clean up
		NetworkMode: container.NetworkMode(r.network),
		Privileged:  r.runtime.Privileged,
		LogConfig:   container.LogConfig{Type: "none"}, // the agent keeps what commands print
		Resources:   limits(r.runtime),
	}
	if r.files == Bind {
		host.Mounts = []mount.Mount{
			{Type: mount.TypeBind, Source: e.bins, Target: binDir, ReadOnly: true},
			{Type: mount.TypeBind, Source: sharedDir(r.folder), Target: agentDir},
		}
	}
	labels := map[string]string{
		labelOwner: e.cfg.Owner, labelJob: string(r.job), labelFiles: r.files, labelPlaced: string(placed),
	}
	if r.folder != "" {
		labels[labelFolder] = filepath.Base(r.folder)
	}
	return client.ContainerCreateOptions{
		Name: r.name,
		Config: &container.Config{
			Image:       r.image.ID, // what was looked at, wherever its tag has moved since
			User:        "0:0",
			Entrypoint:  []string{exePath, "agent", configPath},
			WorkingDir:  dirs().Home, // the engine makes it where an image lacks it
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
			Labels:      labels,
		},
		HostConfig: host,
	}, nil
}

// ownTasks is room for the agent's threads, and for those of the execs that reach
// it, on top of the job's limit.
const ownTasks = 32

// limits are the job's as the kernel knows them. CPUs are a quota and not
// NanoCPUs, which engines refuse above the number that the machine has.
func limits(r ci.Runtime) container.Resources {
	const period = 100_000 // microseconds
	pids := r.Processes
	if pids <= 0 {
		pids = DefaultProcesses
	}
	pids += ownTasks
	res := container.Resources{PidsLimit: &pids}
	if r.CPUs > 0 {
		res.CPUPeriod = period
		res.CPUQuota = max(int64(r.CPUs*period), 1000)
	}
	if r.Memory > 0 {
		res.Memory = r.Memory
		res.MemorySwap = r.Memory // no swap on top
	}
	return res
}

// folder is where a container's folder is on this machine, by its label; "" for
// a container without one, and for a label that would lead elsewhere.
func (e *Executor) folder(label string) string {
	if label == "" || label != filepath.Base(label) || !filepath.IsLocal(label) || label == "." {
		return ""
	}
	return filepath.Join(e.folders(), label)
}

// folders is where the folders of all containers are.
func (e *Executor) folders() string { return filepath.Join(e.cfg.Root, "c") }

// sharedDir is the part of a container's folder that the container sees as its
// agentDir, and can write to. What we rely on is beside it.
func sharedDir(folder string) string { return filepath.Join(folder, filepath.Base(agentDir)) }

// placed says where the job runs, in words.
func placed(r recipe, engine *Engine) ci.Placed {
	var parts []string
	parts = append(parts, "container of "+engine.String())
	switch r.network {
	case "default":
		parts = append(parts, "network of its own")
	case "none":
		parts = append(parts, "no network")
	default:
		parts = append(parts, r.network+" network")
	}
	if r.runtime.Privileged {
		parts = append(parts, "privileged: root in it is root on the host")
	}
	return ci.Placed{
		Executor: "docker", Image: r.image.Name, Digest: r.image.Digest,
		Isolation: strings.Join(parts, "; "),
		Size:      r.runtime.Size, CPUs: r.runtime.CPUs, Memory: r.runtime.Memory,
	}
}
