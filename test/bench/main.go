// Command bench measures Sluice's budgets (ARCHITECTURE.md, docs/performance.md)
// on the machine it runs on, each beside its floor: the bare work, done in the
// same run. Absolute times differ from machine to machine; the ratios are what
// to watch.
//
//	go run ./test/bench -sluice ./sluice            # all of it
//	go run ./test/bench -sluice ./sluice -only lines,zip
//	go run ./test/bench -sluice ./sluice -only server -long   # all of a group
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is one measured budget.
type row struct {
	what   string
	got    string
	floor  string // the bare work, and what it is
	ratio  float64
	budget string
	ok     bool
}

type bench struct {
	sluice string
	runs   int
	long   bool
	dir    string // scratch
	rows   []row
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == peakArg {
		if err := peakOf(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	sluice := flag.String("sluice", "./sluice", "the binary to measure")
	runs := flag.Int("n", 9, "counted runs of each short command; the median is printed")
	only := flag.String("only", "", "comma-separated names of measurements, or of groups of them; empty = all")
	long := flag.Bool("long", false, "also those that take long: many builds that sleep")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *sluice, *runs, *only, *long); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var measurements = []struct {
	name string
	f    func(*bench, context.Context) error
}{
	{"size", (*bench).size},
	{"start", (*bench).start},
	{"one", (*bench).oneCommand},
	{"many", (*bench).manyBuilds},
	{"lines", (*bench).lines},
	{"mask", (*bench).mask},
	{"zip", (*bench).archives},
	{"docker", (*bench).docker},
	{"server/trigger", (*bench).serverTrigger},
	{"server/many", (*bench).serverMany},
	{"server/durable", (*bench).serverDurable},
	{"server/stored", (*bench).serverStored},
	{"server/log", (*bench).serverLog},
	{"server/long", (*bench).serverLong},
	{"server/readers", (*bench).serverReaders},
}

func run(ctx context.Context, sluice string, runs int, only string, long bool) error {
	abs, err := filepath.Abs(sluice)
	if err != nil {
		return err
	}
	if _, err := os.Stat(abs); err != nil {
		return fmt.Errorf("%w (make build makes it)", err)
	}
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{sluice: abs, runs: runs, long: long, dir: dir}
	for _, m := range measurements {
		group, _, _ := strings.Cut(m.name, "/")
		if wanted := strings.Split(only, ","); only != "" && !slices.Contains(wanted, m.name) && !slices.Contains(wanted, group) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", m.name)
		if err := m.f(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	b.print()
	return nil
}

func (b *bench) add(r row) { b.rows = append(b.rows, r) }

func (b *bench) print() {
	fmt.Printf("%-52s %14s %30s %8s  %s\n", "what", "measured", "floor", "ratio", "budget")
	for _, r := range b.rows {
		ratio := ""
		if r.ratio > 0 {
			ratio = fmt.Sprintf("%.2fx", r.ratio)
		}
		verdict := "ok"
		if !r.ok {
			verdict = "OVER"
		}
		fmt.Printf("%-52s %14s %30s %8s  %s: %s\n", r.what, r.got, r.floor, ratio, verdict, r.budget)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// ms2 is ms for what takes less than a few of them.
func ms2(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

func ratio(a, b time.Duration) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// percentile gives the time that so many of a hundred did not take longer than.
func percentile(ds []time.Duration, p int) time.Duration {
	slices.Sort(ds)
	return ds[min(len(ds)*p/100, len(ds)-1)]
}

func middle(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// repeat does something a tenth as often to warm up, then n times, each timed.
func repeat(n int, do func() error) ([]time.Duration, error) {
	var times []time.Duration
	for i := range n/10 + n {
		begin := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		if i >= n/10 {
			times = append(times, time.Since(begin))
		}
	}
	return times, nil
}
