package docker

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// BenchmarkContainer is a job of one command, from Open to the end of Close, and
// beside it `docker run --rm` of the same command with the same network.
func BenchmarkContainer(b *testing.B) {
	for _, c := range engines() {
		for _, network := range []string{"none", "host"} {
			b.Run(c.name+"/"+network+"/sluice", func(b *testing.B) {
				e := c.executor(b, nil)
				image := busybox(b, e)
				run := time.Now().UnixNano()
				for i := 0; b.Loop(); i++ {
					s, err := e.Open(b.Context(), ci.Placement{Job: ci.JobID(fmt.Sprintf("bench/%d-%d", run, i)), Runtime: ci.Runtime{Image: image, Network: network}})
					if err != nil {
						b.Fatal(err)
					}
					output(b, s, ci.Command{ID: "bench/x/BUILD/0", Script: "true"})
					id := s.(*Sandbox).id
					if err := s.Close(b.Context()); err != nil {
						b.Fatal(err)
					}
					b.StopTimer() // what the engine still does must not count against the next one
					if err := e.remove(b.Context(), id); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
			if c.name != "docker-20" && c.name != "docker-new" {
				continue
			}
			b.Run(c.name+"/"+network+"/docker-run", func(b *testing.B) {
				e := c.executor(b, nil)
				image := busybox(b, e)
				if _, err := exec.LookPath("docker"); err != nil {
					b.Skip("docker is missing: apt-get install docker.io")
				}
				for b.Loop() {
					if out, err := exec.Command("docker", "--host", c.host(b), "run", "--rm", "--network", network, image, "true").CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
				}
			})
		}
	}
}
