package agent

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// lines is a command that prints 1,000,000 lines, 100 MB.
func lines(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lines")
	line := strings.Repeat("x", 99) + "\n"
	if err := os.WriteFile(file, []byte(strings.Repeat(line, 1_000_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	return "cat " + file
}

// seq is one that prints 1,000,000 lines in writes of 4 KiB, as programs do.
const seq = "yes " + "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" + " | head -n 1000000"

// memory is what a process holds, in bytes: now and at its most.
func memory(t testing.TB, pid int) (now, peak int64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(data)) {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return now, peak
}

func BenchmarkLines(b *testing.B) {
	cat := lines(b)
	for _, c := range []struct{ name, script string }{{"cat", cat}, {"seq", seq}} {
		b.Run(c.name+"/file", func(b *testing.B) {
			out := filepath.Join(b.TempDir(), "out")
			b.SetBytes(100_000_000)
			for b.Loop() {
				if err := exec.Command("sh", "-c", c.script+" > "+out).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/agent", func(b *testing.B) {
			a := startAgent(b)
			b.SetBytes(100_000_000)
			for b.Loop() {
				p, err := a.Start(b.Context(), ci.Command{ID: nextID(), Script: c.script})
				if err != nil {
					b.Fatal(err)
				}
				r, err := p.Output(b.Context(), 0)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{r}, make([]byte, chunkSize))
				if err != nil || n != 100_000_000 {
					b.Fatal(n, err)
				}
				wait(b, p)
				_ = r.Close()
			}
			_, peak := memory(b, a.cmd.Process.Pid)
			b.ReportMetric(float64(peak)/1e6, "agent-MB")
		})
	}
}

func BenchmarkTrue(b *testing.B) {
	a := startAgent(b)
	run := func(session string) func() error {
		return func() error {
			p, err := a.Start(b.Context(), ci.Command{ID: nextID(), Script: "true", Session: session})
			if err == nil {
				_, err = p.Wait(b.Context())
			}
			return err
		}
	}
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"exec", func() error { return exec.Command("sh", "-c", "true").Run() }},
		{"ping", func() error { return a.Ping(b.Context()) }},
		{"agent", run("")},
		{"session", run("s")},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			// The least and the median say more than the mean on a machine that others use.
			slices.Sort(took)
			b.ReportMetric(float64(took[0].Microseconds()), "least-µs")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-µs")
		})
	}
}
