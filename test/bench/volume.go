package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/logs"
)

const million = `awk 'BEGIN { s = sprintf("%092d", 7); for (i = 0; i < 1000000; i++) printf "%07d%s\n", i, s }'`

// lines measures a step that prints 1,000,000 lines of 100 bytes.
func (b *bench) lines(ctx context.Context) error {
	spec := "version: 0.2\nphases:\n  build:\n    commands:\n      - |\n        %s\n"
	small, err := b.project("quiet", fmt.Sprintf(spec, "true"))
	if err != nil {
		return err
	}
	dir, err := b.project("lines", fmt.Sprintf(spec, million))
	if err != nil {
		return err
	}
	run := []string{b.sluice, "run", "--executor", "local", "--isolation", "none", "--cache", "none", "--quiet"}
	idle, err := b.timed(ctx, small, run...)
	if err != nil {
		return err
	}
	idlePeak, err := b.peak(ctx, small, run...)
	if err != nil {
		return err
	}
	peak, err := b.peak(ctx, dir, run...)
	if err != nil {
		return err
	}
	var got, floor []time.Duration
	for range max(b.runs/2, 3) {
		took, err := b.timed(ctx, dir, run...)
		if err != nil {
			return err
		}
		bare, err := b.timed(ctx, dir, "sh", "-c", million+" > "+filepath.Join(b.dir, "bare.log"))
		if err != nil {
			return err
		}
		got, floor = append(got, took-idle), append(floor, bare)
	}
	log, err := os.Stat(filepath.Join(dir, ".sluice", "build.log"))
	if err != nil {
		return err
	}
	if log.Size() < 100_000_000 {
		return fmt.Errorf("build.log has %d bytes: it is not whole", log.Size())
	}
	g, f := median(got), median(floor)
	b.add(row{what: "1,000,000 lines (100 MB), masked, indexed, kept", got: ms(g), floor: ms(f) + " cmd > file", ratio: ratio(g, f), budget: "450 ms more", ok: g-f <= 450*time.Millisecond})
	grown := float64(peak-idlePeak) / 1e6
	b.add(row{what: "  peak memory beside a build that prints nothing", got: fmt.Sprintf("%+.1f MB", grown), floor: fmt.Sprintf("%.1f MB", float64(idlePeak)/1e6), budget: "10 MB more", ok: grown <= 10})
	return nil
}

// mask measures the masker on text without and with secrets in it.
func (b *bench) mask(context.Context) error {
	secrets := make([]string, 10)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("s3cr3t-%02d-%x", i, rand.Uint64())
	}
	line := "2026-11-22 12:00:00 INFO  some.package.Name   compiled 12 files in 0.31 s, nothing to report here\n"
	text := []byte(strings.Repeat(line, 700) + "token=" + secrets[3] + "\n")
	const rounds = 4000
	measure := func(w io.Writer) (time.Duration, error) {
		begin := time.Now()
		for range rounds {
			if _, err := w.Write(text); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
	floor, err := measure(&copier{})
	if err != nil {
		return err
	}
	m := logs.NewMasker(&copier{}, secrets)
	got, err := measure(m)
	if err != nil {
		return err
	}
	speed := float64(len(text)) * rounds / 1e6
	b.add(row{what: "masking, 10 secrets", got: fmt.Sprintf("%.0f MB/s", speed/got.Seconds()), floor: fmt.Sprintf("%.0f MB/s memory copy", speed/floor.Seconds()), ratio: ratio(got, floor), budget: "500 MB/s", ok: speed/got.Seconds() >= 500})
	return nil
}

// copier copies what it is given, which is the least a writer can do.
type copier struct{ buf bytes.Buffer }

func (c *copier) Write(p []byte) (int, error) {
	c.buf.Reset()
	return c.buf.Write(p)
}

// archives measures artifacts as a ZIP over zip, and a cache over tar | zstd.
func (b *bench) archives(ctx context.Context) error {
	dir, err := b.project("archives", `version: 0.2
phases:
  build:
    commands: ["true"]
artifacts:
  base-directory: files
  files: ["**/*"]
cache:
  paths: ["files/**/*"]
`)
	if err != nil {
		return err
	}
	if err := fill(filepath.Join(dir, "files")); err != nil {
		return err
	}
	run := []string{b.sluice, "run", "--executor", "local", "--isolation", "none", "--packaging", "zip", "--cache", filepath.Join(b.dir, "cache"), "--quiet"}
	var zips, caches, zipFloor, cacheFloor []time.Duration
	for range max(b.runs/2, 3) {
		if err := os.RemoveAll(filepath.Join(b.dir, "cache")); err != nil {
			return err
		}
		if _, err := b.timed(ctx, dir, run...); err != nil {
			return err
		}
		zip, cache, err := stepTimes(filepath.Join(dir, ".sluice"))
		if err != nil {
			return err
		}
		_ = os.Remove(filepath.Join(b.dir, "bare.zip"))
		zf, err := b.timed(ctx, dir, "sh", "-c", "cd files && zip -qr "+filepath.Join(b.dir, "bare.zip")+" .")
		if err != nil {
			return err
		}
		cf, err := b.timed(ctx, dir, "sh", "-c", "tar c files | zstd -q -1 -T0 -f -o "+filepath.Join(b.dir, "bare.tar.zst"))
		if err != nil {
			return err
		}
		zips, caches = append(zips, zip), append(caches, cache)
		zipFloor, cacheFloor = append(zipFloor, zf), append(cacheFloor, cf)
	}
	z, zf, c, cf := median(zips), median(zipFloor), median(caches), median(cacheFloor)
	b.add(row{what: "artifacts: 1,500 files, 60 MB, as ZIP with SHA-256", got: ms(z), floor: ms(zf) + " zip -r", ratio: ratio(z, zf), budget: "1.2x", ok: ratio(z, zf) <= 1.2})
	b.add(row{what: "cache: the same, stored with SHA-256", got: ms(c), floor: ms(cf) + " tar | zstd -1", ratio: ratio(c, cf), budget: "2x", ok: ratio(c, cf) <= 2})
	return nil
}

// fill writes files that compress about as program text does.
func fill(dir string) error {
	words := make([]string, 4000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		words[i] = fmt.Sprintf("word%x", r.Uint32())
	}
	for i := range 1500 {
		sub := filepath.Join(dir, fmt.Sprintf("d%02d", i%40))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		var text bytes.Buffer
		for text.Len() < 40_000 {
			text.WriteString(words[r.IntN(len(words))])
			text.WriteByte(' ')
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%04d.txt", i)), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stepTimes reads from the journal of the build how long the upload and the
// saving of the cache took.
func stepTimes(output string) (zip, cache time.Duration, err error) {
	journals, err := filepath.Glob(filepath.Join(output, "state", "journal", "*.events"))
	if err != nil || len(journals) != 1 {
		return 0, 0, fmt.Errorf("journal of the build in %s: %v, %w", output, journals, err)
	}
	text, err := os.ReadFile(journals[0])
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(text) {
		var events []ci.Event
		if err := json.Unmarshal(line, &events); err != nil {
			return 0, 0, err
		}
		for _, e := range events {
			var s ci.StepRun
			if e.Type != ci.EventStepFinished || json.Unmarshal(e.Data, &s) != nil {
				continue
			}
			switch s.ID.Path() {
			case "UPLOAD_ARTIFACTS/artifacts":
				zip = s.Ended.Sub(s.Started)
			case "FINALIZING/cache":
				cache = s.Ended.Sub(s.Started)
			}
		}
	}
	if zip == 0 || cache == 0 {
		return 0, 0, fmt.Errorf("no upload or no cache in %s", journals[0])
	}
	return zip, cache, nil
}
