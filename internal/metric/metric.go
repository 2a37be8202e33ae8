// Package metric counts and measures, and writes what it has in the text format of
// Prometheus (version 0.0.4).
//
// It knows nothing of Sluice: what is counted is named by those who count.
//
// Invariant: what is written can be read by Prometheus, whatever the values of
// labels are.
package metric

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Set is a number of metrics. Its methods are safe from several goroutines.
type Set struct {
	mu       sync.Mutex
	families []family
}

// family is all that has one name.
type family interface {
	write(ctx context.Context, w *bufio.Writer)
}

type head struct {
	name, help string
	labels     []string
}

func (s *Set) add(f family) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.families = append(s.families, f)
}

// Write writes all metrics in the order in which they were made.
func (s *Set) Write(ctx context.Context, to io.Writer) error {
	s.mu.Lock()
	families := slices.Clone(s.families)
	s.mu.Unlock()
	w := bufio.NewWriter(to)
	for _, f := range families {
		f.write(ctx, w)
	}
	return w.Flush()
}

func (h *head) begin(w *bufio.Writer, kind string) {
	help := strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(h.help)
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", h.name, help, h.name, kind)
}

// line writes one sample; more are labels beside those of the family, as name and value.
func (h *head) line(w *bufio.Writer, suffix string, value float64, values []string, more ...string) {
	w.WriteString(h.name + suffix)
	sep := "{"
	label := func(name, value string) {
		w.WriteString(sep + name + `="` + escape(value) + `"`)
		sep = ","
	}
	for i, name := range h.labels {
		label(name, values[i])
	}
	for i := 0; i+1 < len(more); i += 2 {
		label(more[i], more[i+1])
	}
	if sep == "," {
		w.WriteString("}")
	}
	w.WriteString(" " + number(value) + "\n")
}

func escape(s string) string {
	return strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

func number(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "+Inf"
	case math.IsInf(f, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// series holds something for each combination of values of labels.
type series[T any] struct {
	mu   sync.Mutex
	keys []string
	of   map[string]*T
	at   map[string][]string
}

// get finds what belongs to the values. Under mu.
func (s *series[T]) get(labels int, values []string) *T {
	if len(values) != labels {
		panic(fmt.Sprintf("metric: %d values for %d labels", len(values), labels))
	}
	key := strings.Join(values, "\xff")
	if v := s.of[key]; v != nil {
		return v
	}
	if s.of == nil {
		s.of, s.at = map[string]*T{}, map[string][]string{}
	}
	v := new(T)
	s.of[key], s.at[key] = v, slices.Clone(values)
	i, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Insert(s.keys, i, key)
	return v
}

// Counter only grows.
type Counter struct {
	head
	series series[float64]
}

// Counter makes a counter, whose name ends in _total. One without labels is there
// from the beginning, with 0.
func (s *Set) Counter(name, help string, labels ...string) *Counter {
	c := &Counter{head: head{name, help, labels}}
	if len(labels) == 0 {
		c.Add(0)
	}
	s.add(c)
	return c
}

// Add adds n, which is not negative, for values of the labels.
func (c *Counter) Add(n float64, values ...string) {
	c.series.mu.Lock()
	defer c.series.mu.Unlock()
	*c.series.get(len(c.labels), values) += n
}

func (c *Counter) write(_ context.Context, w *bufio.Writer) {
	c.begin(w, "counter")
	c.series.mu.Lock()
	defer c.series.mu.Unlock()
	for _, k := range c.series.keys {
		c.line(w, "", *c.series.of[k], c.series.at[k])
	}
}

// Emit gives one value, for values of the labels.
type Emit func(value float64, values ...string)

type reading struct {
	head
	kind string
	read func(context.Context, Emit)
}

// Gauge makes a metric that goes up and down, and is read when it is asked for.
func (s *Set) Gauge(name, help string, read func(context.Context, Emit), labels ...string) {
	s.add(&reading{head{name, help, labels}, "gauge", read})
}

// CounterOf makes a counter that somebody else counts.
func (s *Set) CounterOf(name, help string, read func(context.Context, Emit), labels ...string) {
	s.add(&reading{head{name, help, labels}, "counter", read})
}

func (g *reading) write(ctx context.Context, w *bufio.Writer) {
	g.begin(w, g.kind)
	g.read(ctx, func(value float64, values ...string) {
		if len(values) != len(g.labels) {
			panic(fmt.Sprintf("metric: %s: %d values for %d labels", g.name, len(values), len(g.labels)))
		}
		g.line(w, "", value, values)
	})
}

// Histogram counts values by size.
type Histogram struct {
	head
	bounds []float64
	series series[measured]
}

type measured struct {
	counts []uint64 // one more than bounds
	sum    float64
}

// Histogram makes a histogram with upper bounds in ascending order.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...string) *Histogram {
	h := &Histogram{head: head{name, help, labels}, bounds: bounds}
	s.add(h)
	return h
}

// Observe counts a value, for values of the labels.
func (h *Histogram) Observe(value float64, values ...string) {
	h.series.mu.Lock()
	defer h.series.mu.Unlock()
	m := h.series.get(len(h.labels), values)
	if m.counts == nil {
		m.counts = make([]uint64, len(h.bounds)+1)
	}
	i, _ := slices.BinarySearch(h.bounds, value)
	m.counts[i]++
	m.sum += value
}

func (h *Histogram) write(_ context.Context, w *bufio.Writer) {
	h.begin(w, "histogram")
	h.series.mu.Lock()
	defer h.series.mu.Unlock()
	for _, k := range h.series.keys {
		m, values := h.series.of[k], h.series.at[k]
		total := uint64(0)
		for i, n := range m.counts {
			total += n
			le := math.Inf(1)
			if i < len(h.bounds) {
				le = h.bounds[i]
			}
			h.line(w, "_bucket", float64(total), values, "le", number(le))
		}
		h.line(w, "_sum", m.sum, values)
		h.line(w, "_count", float64(total), values)
	}
}
