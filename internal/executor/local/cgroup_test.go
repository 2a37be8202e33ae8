package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// tree makes files below a folder that stands for "/".
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	mountV2     = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	mountHybrid = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

func TestHierarchy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mounts, own string
		files       map[string]string
		kind        string
		plan        groups // below the root
	}{
		"v2, a delegated service": {
			mounts: mountV2, own: "0::/user.slice/user@1.service/app.slice/run.scope\n", kind: "v2",
			files: map[string]string{
				"sys/fs/cgroup/cgroup.controllers":                                         "cpu io memory pids\n",
				"sys/fs/cgroup/cgroup.procs":                                               "1\n",
				"sys/fs/cgroup/user.slice/user@1.service/cgroup.procs":                     "",
				"sys/fs/cgroup/user.slice/user@1.service/app.slice/cgroup.procs":           "",
				"sys/fs/cgroup/user.slice/user@1.service/app.slice/run.scope/cgroup.procs": "77\n",
			},
			plan: groups{Unified: "sys/fs/cgroup/sluice/box"},
		},
		"v1": {
			mounts: strings.ReplaceAll(mountHybrid, "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", ""),
			own:    "4:memory:/a\n3:cpu,cpuacct:/\n2:pids:/a/b\n1:name=systemd:/x\n", kind: "v1",
			plan: groups{V1: map[string]string{
				"memory": "sys/fs/cgroup/memory/a/sluice/box", "pids": "sys/fs/cgroup/pids/a/b/sluice/box",
				"cpu": "sys/fs/cgroup/cpu,cpuacct/sluice/box", "cpuacct": "sys/fs/cgroup/cpu,cpuacct/sluice/box",
			}},
		},
		"hybrid": {
			mounts: mountHybrid, own: "4:memory:/\n3:cpu,cpuacct:/\n2:pids:/\n0::/\n", kind: "hybrid",
			files: map[string]string{"sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n", "sys/fs/cgroup/unified/cgroup.procs": "1\n"},
			plan: groups{Unified: "sys/fs/cgroup/unified/sluice/box", V1: map[string]string{
				"memory": "sys/fs/cgroup/memory/sluice/box", "pids": "sys/fs/cgroup/pids/sluice/box",
				"cpu": "sys/fs/cgroup/cpu,cpuacct/sluice/box", "cpuacct": "sys/fs/cgroup/cpu,cpuacct/sluice/box",
			}},
		},
		"v1 in a container": {
			mounts: "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			own:    "4:memory:/docker/abc/in\n", kind: "v1",
			plan: groups{V1: map[string]string{"memory": "sys/fs/cgroup/memory/in/sluice/box"}},
		},
		"none": {mounts: "1 1 0:1 / / rw - ext4 /dev/sda rw\n", own: "0::/\n", kind: "none"},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, c.files)
			h, err := readHierarchy(strings.NewReader(c.mounts), strings.NewReader(c.own), root)
			if err != nil || h.kind() != c.kind {
				t.Fatalf("kind %q, %v; want %q", h.kind(), err, c.kind)
			}
			got := h.plan("box")
			if want := c.plan.Unified; want != "" && got.Unified != filepath.Join(root, want) {
				t.Errorf("unified %q, want %q", got.Unified, want)
			}
			if len(got.V1) != len(c.plan.V1) {
				t.Errorf("v1 %v, want %v", got.V1, c.plan.V1)
			}
			for k, want := range c.plan.V1 {
				if got.V1[k] != filepath.Join(root, want) {
					t.Errorf("%s %q, want %q", k, got.V1[k], want)
				}
			}
		})
	}
}

// TestUsage reads the counters of both versions.
func TestUsage(t *testing.T) {
	t.Parallel()
	v1 := tree(t, map[string]string{
		"cpuacct/cpuacct.usage": "2500000000\n", "memory/memory.max_usage_in_bytes": "1048576\n",
		"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
	})
	v2 := tree(t, map[string]string{
		"cpu.stat": "usage_usec 2500000\nuser_usec 1\n", "memory.peak": "1048576\n", "memory.events": "low 0\noom 9\noom_kill 3\noom_group_kill 0\n",
	})
	want := ci.Usage{CPUSeconds: 2.5, PeakMemory: 1 << 20, OOMKills: 3}
	for name, g := range map[string]groups{
		"v1": {V1: map[string]string{"cpuacct": v1 + "/cpuacct", "memory": v1 + "/memory"}},
		"v2": {Unified: v2},
	} {
		if got := g.usage(); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if got := (groups{}).usage(); got != (ci.Usage{}) {
		t.Errorf("without cgroups: %+v", got)
	}
}

// TestSettings writes the limits in each version's words.
func TestSettings(t *testing.T) {
	t.Parallel()
	l := limits{cpus: 1.5, memory: 64 << 20, processes: 100}
	for name, c := range map[string]struct {
		g    groups
		want string
	}{
		"v1": {groups{V1: map[string]string{"cpu": "/c", "memory": "/m", "pids": "/p"}, Unified: "/u"},
			"/m/memory.limit_in_bytes=67108864 /m/memory.memsw.limit_in_bytes=67108864 /c/cpu.cfs_period_us=100000 /c/cpu.cfs_quota_us=150000 /p/pids.max=100"},
		"v2": {groups{Unified: "/u"}, "/u/memory.max=67108864 /u/memory.swap.max=0 /u/cpu.max=150000 100000 /u/pids.max=100"},
	} {
		var got []string
		for _, s := range c.g.settings(l) {
			got = append(got, s.path+"="+s.value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, " "), c.want)
		}
	}
}

func FuzzMounts(f *testing.F) {
	f.Add(mountV2+mountHybrid, "0::/a/../b\n4:memory:/x\n")
	f.Add(`35 31 0:32 /a\040b /c\134d rw shared:1 - cgroup cgroup rw,memory`, "4:memory:/a b/c")
	f.Fuzz(func(t *testing.T, mounts, own string) {
		h, err := readHierarchy(strings.NewReader(mounts), strings.NewReader(own), "/nowhere")
		if err != nil {
			return
		}
		for c, p := range h.v1 {
			if !within(p.own, p.mount) || !within(p.mount, "/nowhere") {
				t.Errorf("%s: %+v is outside of its mount", c, p)
			}
		}
	})
}

func FuzzMap(f *testing.F) {
	f.Add([]byte("         0          0 4294967295\n"))
	f.Add([]byte("0 1000 1\n1 100000 65536\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ranges, err := parseMap(data)
		for _, r := range ranges {
			if err == nil && (r.Inside < 0 || r.Outside < 0 || r.Size < 0) {
				t.Errorf("%+v from %q", r, data)
			}
		}
	})
}
