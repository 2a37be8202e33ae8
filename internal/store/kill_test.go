package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

const writerURL = "SLUICE_TEST_STORE_WRITER"

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if url := os.Getenv(writerURL); url != "" {
		fmt.Fprintln(os.Stderr, writeForEver(url))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killedAt is when each job of writeForEver began.
var killedAt = time.Date(2026, 11, 22, 23, 59, 30, 0, time.UTC)

// writeForEver says each build and the number of its events that are stored.
func writeForEver(url string) error {
	ctx := context.Background()
	db, err := store.OpenDB(ctx, url, store.Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for n := 0; ; n++ {
				id := ci.NewBuildID(time.Now()) + ci.BuildID(fmt.Sprintf("-%d-%d", w, n))
				b, _, err := db.Create(ctx, ci.Build{ID: id, Project: "p"}, string(id))
				if err == nil {
					fmt.Printf("%s %d %d\n", id, b.Number, 1)
					b.Status = ci.Running
					err = db.Append(ctx, ci.NewEvent(ci.EventBuildStarted, b), ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: id.Job("j", 1), Status: ci.Queued}))
				}
				if err == nil {
					fmt.Printf("%s %d %d\n", id, b.Number, 3)
					b.Status = ci.Succeeded
					err = db.Append(ctx, ci.NewEvent(ci.EventJobFinished, ci.JobRun{ID: id.Job("j", 1), Status: ci.Errored, Started: killedAt, Ended: killedAt.Add(61 * time.Second)}), ci.NewEvent(ci.EventBuildFinished, b))
				}
				if err != nil {
					failed <- err
					return
				}
				fmt.Printf("%s %d %d\n", id, b.Number, 5)
			}
		})
	}
	return <-failed
}

// A process killed with -9 at any moment has stored all that it acknowledged, and
// each transition whole; its successor opens the database and goes on.
func TestKill(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		acknowledged := map[ci.BuildID]int{}
		numbers := map[ci.BuildID]int64{}
		for _, lines := range []int{1, 40, 200} {
			killAfter(t, url, lines, func(line string) {
				var id ci.BuildID
				var number int64
				var events int
				if n, _ := fmt.Sscan(line, &id, &number, &events); n != 3 {
					t.Fatalf("the writer said %q", line)
				}
				acknowledged[id], numbers[id] = events, number
			})
			check(t, url, acknowledged, numbers)
		}
	})
}

func killAfter(t *testing.T, url string, lines int, each func(string)) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), writerURL+"="+url)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(out)
	n := 0
	for ; s.Scan(); n++ {
		if n == lines {
			_ = cmd.Process.Kill()
		}
		if strings.Count(s.Text(), " ") == 2 {
			each(s.Text())
		}
	}
	_ = cmd.Wait()
	if n < lines {
		t.Fatalf("the writer ended after %d lines", n)
	}
}

func check(t *testing.T, url string, acknowledged map[ci.BuildID]int, numbers map[ci.BuildID]int64) {
	t.Helper()
	db, err := store.OpenDB(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	seen, highest, ended := map[int64]bool{}, int64(0), int64(0)
	f := store.Filter{Limit: 100}
	for {
		page, next, err := db.Builds(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page {
			b, events, err := db.Load(t.Context(), row.ID)
			if err != nil {
				t.Fatal(err)
			}
			if b.Status != row.Status || len(events)%2 != 1 || len(events) < acknowledged[row.ID] {
				t.Errorf("build %s: %d events, %d acknowledged, status %s, listed as %s", row.ID, len(events), acknowledged[row.ID], b.Status, row.Status)
			}
			if seen[b.Number] || numbers[b.ID] != 0 && numbers[b.ID] != b.Number {
				t.Errorf("build %s: number %d, acknowledged as %d", b.ID, b.Number, numbers[b.ID])
			}
			if b.Status.Done() {
				ended++
			}
			seen[b.Number] = true
			highest = max(highest, b.Number)
			delete(numbers, row.ID)
		}
		if f.Cursor = next; next == "" {
			break
		}
	}
	if int64(len(seen)) != highest {
		t.Errorf("%d builds have numbers up to %d", len(seen), highest)
	}
	rows, _, err := db.Usage(t.Context(), store.UsageFilter{By: []string{"day"}})
	if err != nil {
		t.Fatal(err)
	}
	if jobs, minutes := sums(rows); jobs != ended || minutes != 2*float64(ended) || ended > 0 && rows[0].Day != "2026-11-23" {
		t.Errorf("%d jobs ended after 61 s each, and %d of %v minutes are metered: %+v", ended, jobs, minutes, rows)
	}
	for id := range numbers {
		t.Errorf("build %s was acknowledged and is not there", id)
	}
	for id := range acknowledged {
		delete(acknowledged, id)
	}
}
