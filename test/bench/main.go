// Command bench measures Sluice's budgets (ARCHITECTURE.md, docs/performance.md)
// on the machine it runs on, each beside its floor: the bare work, done in the
// same run. Absolute times differ from machine to machine; the ratios are what
// to watch.
//
//	go run ./test/bench -sluice ./sluice            # all of it
//	go run ./test/bench -sluice ./sluice -only lines,zip
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
	only := flag.String("only", "", "comma-separated names of measurements; empty = all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *sluice, *runs, *only); err != nil {
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
}

func run(ctx context.Context, sluice string, runs int, only string) error {
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
	b := &bench{sluice: abs, runs: runs, dir: dir}
	for _, m := range measurements {
		if only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
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
