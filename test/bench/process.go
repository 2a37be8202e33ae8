package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// timed runs a command once and returns its wall time.
func (b *bench) timed(ctx context.Context, dir string, argv ...string) (time.Duration, error) {
	cmd := b.command(ctx, dir, argv...)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%v: %w\n%s", argv, err, out)
	}
	return took, nil
}

func (b *bench) command(ctx context.Context, dir string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SLUICE_HOME="+filepath.Join(b.dir, "home"), "NO_COLOR=1")
	return cmd
}

// peakArg makes this program a small one that runs a command and prints the peak
// memory, in bytes, of it and the children it waited for. The kernel counts to a
// process what its parent had when it was forked, and we have much.
const peakArg = "peak-of"

func (b *bench) peak(ctx context.Context, dir string, argv ...string) (int64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := b.command(ctx, dir, append([]string{self, peakArg}, argv...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%v: %w", argv, err)
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}

func peakOf(argv []string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Run(); err != nil {
		return err
	}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		fmt.Println(u.Maxrss * 1024)
	}
	return nil
}

// paired times two commands in turn, A B A B …, after one warm-up of each, and
// returns the medians.
func (b *bench) paired(ctx context.Context, runs int, dir string, a, floor []string) (time.Duration, time.Duration, error) {
	var as, fs []time.Duration
	for i := range runs + 1 {
		ta, err := b.timed(ctx, dir, a...)
		if err != nil {
			return 0, 0, err
		}
		tf, err := b.timed(ctx, dir, floor...)
		if err != nil {
			return 0, 0, err
		}
		if i > 0 {
			as, fs = append(as, ta), append(fs, tf)
		}
	}
	return median(as), median(fs), nil
}

// project writes a folder with a buildspec and returns its path.
func (b *bench) project(name, buildspec string) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "buildspec.yml"), []byte(buildspec), 0o644)
}

func (b *bench) size(context.Context) error {
	info, err := os.Stat(b.sluice)
	if err != nil {
		return err
	}
	mb := float64(info.Size()) / 1e6
	b.add(row{what: "the binary, static, stripped", got: fmt.Sprintf("%.1f MB", mb), floor: "10.6 MB (net/http, TLS, SQL)", ratio: mb / 10.6, budget: "30 MB", ok: mb <= 30})
	return nil
}

func (b *bench) start(ctx context.Context) error {
	got, floor, err := b.paired(ctx, 3*b.runs, b.dir, []string{b.sluice, "version"}, []string{"/bin/true"})
	if err != nil {
		return err
	}
	b.add(row{what: "sluice version, whole process", got: ms(got), floor: ms(floor) + " /bin/true", ratio: ratio(got, floor), budget: "10 ms", ok: got <= 10*time.Millisecond})
	return nil
}

func (b *bench) oneCommand(ctx context.Context) error {
	dir, err := b.project("one", "version: 0.2\nphases:\n  build:\n    commands: [\"true\"]\n")
	if err != nil {
		return err
	}
	run := []string{b.sluice, "run", "--executor", "local", "--cache", "none", "--quiet"}
	bare := []string{"sh", "-c", "true"}
	none, floor, err := b.paired(ctx, 3*b.runs, dir, append(run, "--isolation", "none"), bare)
	if err != nil {
		return err
	}
	b.add(row{what: "sluice run of one command, no isolation", got: ms(none), floor: ms(floor) + " sh -c true", ratio: ratio(none, floor), budget: "20 ms", ok: none <= 20*time.Millisecond})
	boxed, _, err := b.paired(ctx, 3*b.runs, dir, run, bare)
	if err != nil {
		return err
	}
	b.add(row{what: "sluice run of one command, sandbox", got: ms(boxed), floor: ms(none) + " without isolation", ratio: ratio(boxed, none), budget: "20 ms more", ok: boxed-none <= 20*time.Millisecond})
	return nil
}

func (b *bench) docker(ctx context.Context) error {
	host, image := os.Getenv("SLUICE_TEST_DOCKER_20"), os.Getenv("SLUICE_BENCH_IMAGE")
	if host == "" || image == "" {
		fmt.Fprintln(os.Stderr, "  left out: set SLUICE_TEST_DOCKER_20 to a DOCKER_HOST and SLUICE_BENCH_IMAGE to an image it has")
		return nil
	}
	if err := os.Setenv("DOCKER_HOST", host); err != nil {
		return err
	}
	dir, err := b.project("docker", "version: 0.2\nphases:\n  build:\n    commands: [\"true\"]\n")
	if err != nil {
		return err
	}
	for _, network := range []string{"none", "host"} {
		run := []string{b.sluice, "run", "--executor", "docker", "--image", image, "--network", network, "--cache", "none", "--quiet"}
		bare := []string{"docker", "run", "--rm", "--network", network, image, "true"}
		cold, err := b.timed(ctx, dir, run...)
		if err != nil {
			return err
		}
		coldFloor, err := b.timed(ctx, dir, bare...)
		if err != nil {
			return err
		}
		got, floor, err := b.paired(ctx, b.runs, dir, run, bare)
		if err != nil {
			return err
		}
		b.add(row{what: "container, first run, network " + network, got: ms(cold), floor: ms(coldFloor) + " docker run --rm", ratio: ratio(cold, coldFloor), budget: "reported", ok: true})
		b.add(row{what: "container, warm, network " + network, got: ms(got), floor: ms(floor) + " docker run --rm", ratio: ratio(got, floor), budget: "that + 25 ms", ok: got-floor <= 25*time.Millisecond})
	}
	return nil
}
