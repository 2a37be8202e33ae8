package docker

import (
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TestTrafficIsOfTheSandbox: what goes over a network of the sandbox's own is
// measured; of the host's, where others' traffic is too, nothing is said.
func TestTrafficIsOfTheSandbox(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, c engineCase) {
		e := c.executor(t, nil)
		for _, network := range []string{"", "host", "none"} {
			s := open(t, e, ci.JobID("traffic/x"+network), func(p *ci.Placement) { p.Runtime.Network = network })
			// To the gateway, which need not answer: asking for its address is traffic.
			p, err := s.Start(t.Context(), ci.Command{ID: ci.StepID("traffic/x" + network + "/BUILD/0"), Script: "ping -c 1 -w 1 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p') || true"})
			if err != nil {
				t.Fatal(err)
			}
			exit, err := p.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			own := strings.Contains(s.Placed().Isolation, "network of its own")
			if !own && exit.Usage.NetIn+exit.Usage.NetOut > 0 || own && exit.Usage.NetOut == 0 {
				t.Errorf("network %q (%s): %d bytes sent", network, s.Placed().Isolation, exit.Usage.NetOut)
			}
		}
	})
}
