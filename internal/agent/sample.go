package agent

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// How often a command that runs is looked at. One that is over before the first
// look costs nothing: what the kernel says at its end is then all that is known.
const (
	firstLook   = 500 * time.Millisecond
	laterLooks  = time.Second
	rarestLooks = 5 * time.Second
)

// sampler finds out what a command takes at most, by looking at its processes now
// and then: what the kernel says at the end is a sum, and memory of one process.
type sampler struct {
	main    int
	began   time.Time
	network bool     // the network is the sandbox's own: its counters are the command's
	traffic [2]int64 // received and sent, when it began

	last    time.Time // of the last look
	seconds float64   // of processor time, by then
	peak    ci.Usage  // PeakCPUs and PeakMemory
}

func newSampler(main int, network bool, now time.Time) *sampler {
	s := &sampler{main: main, network: network, began: now, last: now}
	if network {
		s.traffic = traffic()
	}
	return s
}

// pause is how long to leave the command alone now.
func (s *sampler) pause(now time.Time) time.Duration {
	if s.last.Equal(s.began) {
		return firstLook
	}
	return min(max(now.Sub(s.began)/8, laterLooks), rarestLooks)
}

// look takes one sample.
func (s *sampler) look(now time.Time) {
	var seconds float64
	var private, shared int64
	count := func(pid int) {
		u, sh := resources(pid)
		seconds += u.CPUSeconds
		private += u.PeakMemory
		shared = max(shared, sh)
	}
	count(s.main)
	each(s.main, count)
	s.peak.PeakMemory = max(s.peak.PeakMemory, private+shared)
	// Processor time of processes that left the command's tree is gone from the
	// sum: then this look says nothing.
	if gone := now.Sub(s.last).Seconds(); gone > 0 && seconds > s.seconds {
		s.peak.PeakCPUs = max(s.peak.PeakCPUs, (seconds-s.seconds)/gone)
	}
	s.last, s.seconds = now, seconds
}

// end adds what was found to what the kernel said at the end.
func (s *sampler) end(u ci.Usage, now time.Time) ci.Usage {
	u.PeakMemory = max(u.PeakMemory, s.peak.PeakMemory)
	u.PeakCPUs = s.peak.PeakCPUs
	if took := now.Sub(s.began).Seconds(); took > 0.01 { // less than a tick of the clock makes no average
		u.PeakCPUs = max(u.PeakCPUs, u.CPUSeconds/took)
	}
	if s.network {
		t := traffic()
		u.NetIn, u.NetOut = max(t[0]-s.traffic[0], 0), max(t[1]-s.traffic[1], 0)
	}
	return u
}

// ticks of the clock in a second, as /proc counts them on every architecture.
const ticks = 100

// resources are the processor time of a process and of its children that ended,
// the memory that is its own (as PeakMemory), and what it shares with others.
func resources(pid int) (own ci.Usage, shared int64) {
	dir := "/proc/" + strconv.Itoa(pid)
	if stat, err := os.ReadFile(dir + "/stat"); err == nil {
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		for i := 11; i <= 14 && i < len(f); i++ { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(string(f[i]), 10, 64)
			own.CPUSeconds += float64(n) / ticks
		}
	}
	if statm, err := os.ReadFile(dir + "/statm"); err == nil {
		if f := bytes.Fields(statm); len(f) > 2 {
			resident, _ := strconv.ParseInt(string(f[1]), 10, 64)
			mapped, _ := strconv.ParseInt(string(f[2]), 10, 64)
			page := int64(os.Getpagesize())
			own.PeakMemory, shared = max(resident-mapped, 0)*page, mapped*page
		}
	}
	return own, shared
}

// traffic is what the interfaces but loopback have received and sent.
func traffic() [2]int64 {
	data, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return [2]int64{}
	}
	return trafficIn(data)
}

func trafficIn(data []byte) (t [2]int64) {
	for line := range bytes.Lines(data) {
		name, counters, ok := bytes.Cut(line, []byte(":"))
		f := bytes.Fields(counters)
		if !ok || len(f) < 9 || string(bytes.TrimSpace(name)) == "lo" {
			continue
		}
		for i, at := range []int{0, 8} {
			n, _ := strconv.ParseInt(string(f[at]), 10, 64)
			t[i] += n
		}
	}
	return t
}
