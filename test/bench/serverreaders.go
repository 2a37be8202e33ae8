package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/client"
)

const (
	tailers  = 100
	gigabyte = 1_000_000_000
	// huge prints lines of 100 bytes.
	huge = "yes 'a line of a log that is as long as such lines are, more or less, with a word or two to look for' | head -c 999999990; echo; echo needle"
)

// serverReaders measures logs that many read at once, and one of 1 GB. It moves
// some 10 GB, so it is behind -long.
func (b *bench) serverReaders(ctx context.Context) error {
	if !b.long {
		return nil
	}
	return b.with(ctx, "readers", []string{"--pack-logs", "20s"}, func(s *served) error {
		for name, text := range map[string]string{"quiet": spec("true"), "lines": spec(million), "huge": spec(huge)} {
			if err := s.projectOf(ctx, client.Project{Name: name, Runtime: plain}, text); err != nil {
				return err
			}
		}
		if _, err := s.build(ctx, "quiet"); err != nil {
			return err
		}
		if err := s.tailed(ctx); err != nil {
			return err
		}
		return s.hugeLog(ctx)
	})
}

// tailed measures a step of 1,000,000 lines that 100 readers follow.
func (s *served) tailed(ctx context.Context) error {
	before, err := s.forgetPeak()
	if err != nil {
		return err
	}
	begin := time.Now()
	started, _, err := s.client.StartBuild(ctx, "lines", client.StartBuild{})
	if err != nil {
		return err
	}
	sizes, errs := make([]int64, tailers), make([]error, tailers)
	var work sync.WaitGroup
	for i := range tailers {
		work.Go(func() {
			r, err := s.client.Log(ctx, "lines", started.Number, client.LogOptions{Follow: true})
			if err == nil {
				sizes[i], err = io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{r}, make([]byte, 64<<10))
				err = errors.Join(err, r.Close())
			}
			errs[i] = err
		})
	}
	work.Wait()
	all := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, n := range sizes {
		if n != sizes[0] || n < 100_000_000 {
			return fmt.Errorf("a reader got %d bytes, another %d: the log is not whole", n, sizes[0])
		}
	}
	b, err := s.client.Build(ctx, "lines", started.Number)
	if err != nil {
		return err
	}
	step, err := commandTime(b)
	if err != nil {
		return err
	}
	peak, err := s.memory("VmHWM")
	if err != nil {
		return err
	}
	s.b.add(row{what: "1,000,000 lines (100 MB), 100 readers: the step", got: ms(step), budget: "reported", ok: true})
	s.b.add(row{what: "  until the last reader has all", got: ms(all), floor: fmt.Sprintf("%.1f GB/s to them", float64(sizes[0])*tailers/1e9/all.Seconds()), budget: "reported", ok: true})
	grown := float64(peak-before) / 1e6
	s.b.add(row{what: "  the server's memory grows by", got: fmt.Sprintf("%.1f MB", grown), floor: fmt.Sprintf("%.1f MB before", float64(before)/1e6), budget: "100 MB", ok: grown <= 100})
	return nil
}

// hugeLog measures a log of 1 GB: written, read, searched, and all that again
// when it is packed.
func (s *served) hugeLog(ctx context.Context) error {
	before, err := s.forgetPeak()
	if err != nil {
		return err
	}
	b, err := s.build(ctx, "huge")
	if err == nil && b.Status != client.Succeeded {
		err = fmt.Errorf("build %s/%d: %s %s", b.Project, b.Number, b.Status, b.Reason)
	}
	if err != nil {
		return err
	}
	took, err := commandTime(b)
	if err != nil {
		return err
	}
	s.b.add(row{what: "a step that prints 1 GB on the server", got: ms(took), budget: "reported", ok: true})
	if err := s.readHuge(ctx, "plain"); err != nil {
		return err
	}
	packed := filepath.Join(s.data, "logs", b.ID, "build", "BUILD", "0.zst")
	var info os.FileInfo
	for info == nil {
		if info, err = os.Stat(packed); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond): // nothing tells when it is done
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.b.add(row{what: "  packed", got: fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), budget: "reported", ok: true})
	if err := s.readHuge(ctx, "packed"); err != nil {
		return err
	}
	peak, err := s.memory("VmHWM")
	if err != nil {
		return err
	}
	grown := float64(peak-before) / 1e6
	s.b.add(row{what: "  the server's memory grew by, all in all", got: fmt.Sprintf("%.1f MB", grown), floor: fmt.Sprintf("%.1f MB before", float64(before)/1e6), budget: "50 MB", ok: grown <= 50})
	return nil
}

// readHuge reads the log of the first build of "huge" at its beginning, its end and in
// the middle, and looks for its last line.
func (s *served) readHuge(ctx context.Context, how string) error {
	read := func(from, n int64) (time.Duration, error) {
		times, err := repeat(50, func() error {
			r, err := s.client.Log(ctx, "huge", 1, client.LogOptions{From: from})
			if err != nil {
				return err
			}
			_, err = io.CopyN(io.Discard, r, n)
			return errors.Join(err, r.Close())
		})
		if err != nil {
			return 0, fmt.Errorf("read the log from byte %d: %w", from, err)
		}
		return percentile(times, 50), nil
	}
	for _, c := range []struct {
		what   string
		from   int64
		n      int64
		budget time.Duration
	}{
		{"first byte", 0, 1, 5 * time.Millisecond}, {"4 KiB near its end, by offset", gigabyte - 8<<10, 4 << 10, 2 * time.Millisecond},
		{"4 KiB in its middle", gigabyte / 2, 4 << 10, 5 * time.Millisecond},
	} {
		got, err := read(c.from, c.n)
		if err != nil {
			return err
		}
		s.b.add(row{what: "  " + how + ": " + c.what, got: ms2(got), budget: ms(c.budget), ok: got <= c.budget})
	}
	times, err := repeat(20, func() error {
		page, err := s.client.Lines(ctx, "huge", 1, client.LineQuery{Last: 100})
		if err == nil && len(page.Items) != 100 {
			err = fmt.Errorf("got %d lines", len(page.Items))
		}
		return err
	})
	if err != nil {
		return err
	}
	last := percentile(times, 50)
	s.b.add(row{what: "  " + how + ": its last 100 lines", got: ms2(last), budget: "reported", ok: true})
	for what, q := range map[string]client.LineQuery{"a text": {Grep: "needle"}, "an expression": {Grep: "^need.e$", Regexp: true}} {
		begin := time.Now()
		var found int64
		for q.Count = true; ; {
			page, err := s.client.Lines(ctx, "huge", 1, q)
			if err != nil {
				return err
			}
			found += page.Matches
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if found != 1 {
			return fmt.Errorf("search of %s: %d matches, want 1", what, found)
		}
		s.b.add(row{what: "  " + how + ": search all of it for " + what, got: ms(time.Since(begin)), budget: "reported", ok: true})
	}
	return nil
}
