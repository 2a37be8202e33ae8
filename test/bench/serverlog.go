package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ci/sluice/client"
)

// serverLog measures a step that prints 1,000,000 lines on a server, and
// reading its log.
func (b *bench) serverLog(ctx context.Context) error {
	return b.with(ctx, "log-server", nil, func(s *served) error {
		for name, text := range map[string]string{"quiet": spec("true"), "lines": spec(million)} {
			if err := s.projectOf(ctx, client.Project{Name: name, Runtime: plain}, text); err != nil {
				return err
			}
		}
		if err := s.writeLog(ctx); err != nil {
			return err
		}
		if err := s.readLog(ctx); err != nil {
			return err
		}
		return s.followed(ctx)
	})
}

// build runs one build to its end.
func (s *served) build(ctx context.Context, project string) (client.Build, error) {
	b, _, err := s.client.StartBuild(ctx, project, client.StartBuild{})
	if err != nil {
		return b, err
	}
	if _, err := s.finished(ctx, project, b.Number); err != nil {
		return b, err
	}
	return s.client.Build(ctx, project, b.Number)
}

// writeLog measures the step, and the server's memory meanwhile.
func (s *served) writeLog(ctx context.Context) error {
	for range warmups {
		if _, err := s.build(ctx, "quiet"); err != nil {
			return err
		}
	}
	before, err := s.forgetPeak()
	if err != nil {
		return err
	}
	var got, floor []time.Duration
	for range max(s.b.runs/2, 3) {
		b, err := s.build(ctx, "lines")
		if err != nil {
			return err
		}
		took, err := commandTime(b)
		if err != nil {
			return err
		}
		bare, err := s.b.timed(ctx, s.b.dir, "sh", "-c", million+" > "+filepath.Join(s.b.dir, "bare.log"))
		if err != nil {
			return err
		}
		got, floor = append(got, took), append(floor, bare)
	}
	peak, err := s.memory("VmHWM")
	if err != nil {
		return err
	}
	g, f := median(got), median(floor)
	s.b.add(row{what: "1,000,000 lines (100 MB) in a step on the server", got: ms(g), floor: ms(f) + " cmd > file", ratio: ratio(g, f), budget: "450 ms", ok: g <= 450*time.Millisecond})
	grown := float64(peak-before) / 1e6
	s.b.add(row{what: "  the server's memory grows by", got: fmt.Sprintf("%.1f MB", grown), floor: fmt.Sprintf("%.1f MB before", float64(before)/1e6), budget: "10 MB", ok: grown <= 10})
	return nil
}

// commandTime is how long the only command of a build took, until all about it
// was kept.
func commandTime(b client.Build) (time.Duration, error) {
	for _, j := range b.Jobs {
		for _, s := range j.Steps {
			if s.Kind == "command" {
				return s.Ended.Sub(s.Started), nil
			}
		}
	}
	return 0, fmt.Errorf("build %s/%d has no command", b.Project, b.Number)
}

// readLog measures fetching that log: its first byte, all of it, its end.
func (s *served) readLog(ctx context.Context) error {
	const number = 1
	b, err := s.client.Build(ctx, "lines", number)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(s.data, "logs", b.ID, "*", "BUILD", "0.log"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("file of the log: %v, %w", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		return err
	}
	var first, whole, bare []time.Duration
	for range max(s.b.runs, 3) {
		begin := time.Now()
		got, head, err := s.fetch(ctx, number, 0)
		took := time.Since(begin)
		if err == nil && (got != info.Size() || got < 100_000_000) {
			err = fmt.Errorf("the log has %d bytes of the file's %d: it is not whole", got, info.Size())
		}
		if err != nil {
			return err
		}
		begin = time.Now()
		f, err := os.Open(files[0])
		if err != nil {
			return err
		}
		if err := drain(f); err != nil {
			return err
		}
		bare = append(bare, time.Since(begin))
		first, whole = append(first, head), append(whole, took)
	}
	const tail = 64 << 10
	ends, err := repeat(triggers, func() error {
		n, _, err := s.fetch(ctx, number, info.Size()-tail)
		if err == nil && n != tail {
			err = fmt.Errorf("the log's end has %d bytes, want %d", n, tail)
		}
		return err
	})
	if err != nil {
		return err
	}
	head, all, end, floor := median(first), median(whole), median(ends), median(bare)
	s.b.add(row{what: "fetch that log, 100 MB", got: ms(all), floor: ms(floor) + " reading its file", ratio: ratio(all, floor), budget: "150 ms", ok: all <= 150*time.Millisecond})
	s.b.add(row{what: "  first byte", got: ms2(head), budget: "5 ms", ok: head <= 5*time.Millisecond})
	s.b.add(row{what: "  its last 64 KiB, by offset", got: ms2(end), budget: "2 ms", ok: end <= 2*time.Millisecond})
	return nil
}

// fetch reads the log of a build of the project "lines" from a byte on, and says
// when the first byte came.
func (s *served) fetch(ctx context.Context, number, from int64) (n int64, first time.Duration, err error) {
	begin := time.Now()
	r, err := s.client.Log(ctx, "lines", number, client.LogOptions{From: from})
	if err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 256<<10)
	for err == nil {
		var k int
		if k, err = r.Read(buf); k > 0 && n == 0 {
			first = time.Since(begin)
		}
		n += int64(k)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, first, errors.Join(err, r.Close())
}

// followed measures `sluice build start --follow`, from the start of its process
// to the end.
func (s *served) followed(ctx context.Context) error {
	var got, over []time.Duration
	for i := range max(s.b.runs, 3) + 1 {
		cmd := s.b.command(ctx, s.b.dir, s.b.sluice, "build", "start", "quiet", "--follow")
		cmd.Env = append(cmd.Env, "SLUICE_URL="+s.url, "SLUICE_TOKEN="+s.token)
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		took := time.Since(begin)
		if err != nil {
			return fmt.Errorf("sluice build start --follow: %w\n%s", err, out)
		}
		begin = time.Now()
		if _, err := s.build(ctx, "quiet"); err != nil {
			return err
		}
		if i > 0 {
			got, over = append(got, took), append(over, time.Since(begin))
		}
	}
	_, version, err := s.b.paired(ctx, s.b.runs, s.b.dir, []string{"/bin/true"}, []string{s.b.sluice, "version"})
	if err != nil {
		return err
	}
	g, f := median(got), median(over)+version
	s.b.add(row{what: "sluice build start --follow, whole process", got: ms(g), floor: ms(f) + " the build, sluice version", ratio: ratio(g, f), budget: "reported", ok: true})
	return nil
}

// drain reads something to its end and closes it.
func drain(r io.ReadCloser) error {
	_, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{r}, make([]byte, 256<<10))
	return errors.Join(err, r.Close())
}

// onlyReader and onlyWriter hide what would let a copy take a short cut, by which
// nobody has the bytes.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
