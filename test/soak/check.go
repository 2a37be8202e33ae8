package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/client"
)

// most errors of a kind that are shown.
const most = 20

// check compares what the server has with what clients were told and commands did.
func (l *load) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settle+l.o.length/2)
	defer cancel()
	text, err := os.ReadFile(l.ran)
	if err != nil {
		return err
	}
	ran := map[string]int{}
	for line := range strings.Lines(string(text)) {
		ran[strings.TrimSpace(line)]++
	}
	var errs []error
	wrong := func(format string, args ...any) {
		if len(errs) < most {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, k := range l.kinds {
		stored, err := l.stored(ctx, k.name)
		if err != nil {
			return err
		}
		accepted := l.builds[k.name]
		for n := int64(1); n <= int64(max(len(stored), len(accepted))); n++ {
			b, there := stored[n]
			key, known := accepted[n]
			if !there || !known {
				wrong("%s/%d: stored %v, accepted %v: want every accepted build and no other, without gaps", k.name, n, there, known)
				continue
			}
			switch {
			case k.cancel && b.Status != client.Canceled, !k.cancel && b.Status != k.status:
				wrong("%s/%d is %s: %s", k.name, n, b.Status, b.Reason)
			case !k.cancel && ran[key] != 1, ran[key] > 1:
				wrong("%s/%d ran %d times", k.name, n, ran[key])
			}
			if err := l.readLog(ctx, k, n, key, false); err != nil {
				wrong("%w", err)
			}
			if err := l.wasTold(ctx, fmt.Sprintf("%s/%d", k.name, n)); err != nil {
				wrong("%w", err)
			}
		}
	}
	return errors.Join(errs...)
}

// stored are the builds of a project as lists show them, by number.
func (l *load) stored(ctx context.Context, project string) (map[int64]client.Build, error) {
	all := map[int64]client.Build{}
	var p client.Paging
	for {
		p.Limit = 200
		page, err := l.s.client.Builds(ctx, client.BuildFilter{Project: project, Paging: p})
		if err != nil {
			return nil, err
		}
		for _, b := range page.Items {
			all[b.Number] = b
		}
		if p.After = page.Next; p.After == "" {
			return all, nil
		}
	}
}

// wasTold waits for the notice of a build's end.
func (l *load) wasTold(ctx context.Context, build string) error {
	for {
		l.mu.Lock()
		n, told := l.notices[build], l.told
		l.mu.Unlock()
		if n > 0 {
			return nil
		}
		select {
		case <-told:
		case <-ctx.Done():
			return fmt.Errorf("nobody was told of the end of %s", build)
		}
	}
}

// gone is for how long what a server that has ended leaves may take to be gone.
const gone = 30 * time.Second

// leftOver looks for processes and folders that nobody owns any more.
func leftOver(dir string) error {
	var errs []error
	left, err := filepath.Glob(filepath.Join(dir, "data", "sandboxes", "*"))
	if err != nil {
		return err
	}
	if len(left) > 0 {
		errs = append(errs, fmt.Errorf("%d sandboxes are left: %v", len(left), left))
	}
	until := time.Now().Add(gone)
	for {
		reap()
		processes, err := running(dir)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if len(processes) == 0 {
			return errors.Join(errs...)
		}
		if time.Now().After(until) {
			return errors.Join(append(errs, fmt.Errorf("%d processes are left:\n%s", len(processes), strings.Join(processes, "\n")))...)
		}
		awaitChild(time.Until(until))
	}
}

// running lists the processes below this one, which is the parent of orphans.
func running(dir string) ([]string, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	parents, names := map[int]int{}, map[int]string{}
	for _, f := range folders {
		pid, err := strconv.Atoi(filepath.Base(f))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(f, "stat"))
		_, rest, ok := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 2 || fields[0] == "Z" {
			continue // it has ended meanwhile
		}
		parents[pid], _ = strconv.Atoi(fields[1])
		line, _ := os.ReadFile(filepath.Join(f, "cmdline"))
		names[pid] = fmt.Sprintf("%d %s %.200s", pid, fields[0], strings.ReplaceAll(string(line), "\x00", " "))
	}
	var found []string
	for pid := range parents {
		below := false
		for p := parents[pid]; p > 1 && !below; p = parents[p] {
			below = p == os.Getpid()
		}
		if below || pid != os.Getpid() && strings.Contains(names[pid], dir) {
			found = append(found, names[pid])
		}
	}
	return found, nil
}

// report says what was done.
func (l *load) report() {
	l.mu.Lock()
	defer l.mu.Unlock()
	builds, told := 0, 0
	for _, k := range l.kinds {
		builds += len(l.builds[k.name])
	}
	for _, n := range l.notices {
		told += n
	}
	fmt.Printf("soak: %d builds, %d restarts, %d notices: nothing lost, nothing doubled, nothing left over\n", builds, l.kills.Load(), told)
}
