package agent

import (
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// The memory of several processes is added up, and processor time becomes a rate.
func TestSamplerAddsUpProcesses(t *testing.T) {
	t.Parallel()
	const each = 40 << 20
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `
		for i in 1 2; do (head -c 41943040 /dev/zero; exec sleep 1000) | tail -c 41943040 >/dev/null & done
		while :; do :; done`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killBelow(cmd.Process.Pid)
		_ = cmd.Wait()
	})
	s := newSampler(cmd.Process.Pid, false, time.Now())
	for s.peak.PeakMemory < 2*each || s.peak.PeakCPUs == 0 { // until the test's time is over
		s.look(time.Now())
		runtime.Gosched()
	}
	if s.peak.PeakMemory > 4*each {
		t.Errorf("got %d bytes, want little more than %d", s.peak.PeakMemory, 2*each)
	}
	u := s.end(ci.Usage{CPUSeconds: 3, PeakMemory: 1}, s.began.Add(time.Second))
	if u.PeakCPUs < 3 || u.PeakMemory < 2*each || u.NetIn != 0 || u.CPUSeconds != 3 {
		t.Errorf("got %+v, want 3 processors at least and the peak of memory", u)
	}
}

func killBelow(pid int) {
	each(pid, func(p int) { _ = exec.Command("kill", "-9", strconv.Itoa(p)).Run() })
	_ = exec.Command("kill", "-9", strconv.Itoa(pid)).Run()
}

func TestSamplerLooksSeldom(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := newSampler(1, false, began)
	looks, at := 0, began
	for at.Sub(began) < time.Hour {
		p := s.pause(at)
		at = at.Add(p)
		s.last = at
		if looks++; p > rarestLooks || p < firstLook {
			t.Fatalf("look %d after %s", looks, p)
		}
	}
	if looks > 750 {
		t.Errorf("%d looks in an hour", looks)
	}
}

func TestTrafficIn(t *testing.T) {
	t.Parallel()
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9999999    9999    0    0    0     0          0         0  9999999    9999    0    0    0     0       0          0
  eth0: 1500       10    0    0    0     0          0         0      700       7    0    0    0     0       0          0
eth1:18446744073709551615 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0
  odd: 1
`
	if got := trafficIn([]byte(text)); got[1] != 705 {
		t.Errorf("got %v, want 705 bytes sent", got)
	}
	if got := trafficIn([]byte(strings.Replace(text, "18446744073709551615", "500", 1))); got != [2]int64{2000, 705} {
		t.Errorf("got %v, want 2000 received and 705 sent", got)
	}
	if got := trafficIn(nil); got != [2]int64{} {
		t.Errorf("got %v", got)
	}
}
