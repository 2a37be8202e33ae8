package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Journal keeps each build as one file of events, a JSON object a line. It is
// what `sluice run` uses: no database to open, and a build can be read with any
// tool. One process writes a build; any may read it.
type Journal struct {
	dir  string
	sync bool

	mu   sync.Mutex
	open map[ci.BuildID]*journal
}

type journal struct {
	file  *os.File
	build ci.Build
	seq   int64 // of the last event
	size  int64
}

// OpenJournal keeps builds below dir, which is made if missing. With durable
// set, each transition is on the disk before Append returns; without, it
// survives the end of the process but not of the machine.
func OpenJournal(dir string, durable bool) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{dir: dir, sync: durable, open: map[ci.BuildID]*journal{}}, nil
}

// Close closes the files. The journal can be opened again.
func (s *Journal) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id, j := range s.open {
		errs = append(errs, j.file.Close())
		delete(s.open, id)
	}
	return errors.Join(errs...)
}

// Append stores the events, all of the same build, as one transition: all or
// none. Events that the build's state does not permit, or that are not numbered
// on from what is stored, are refused with ci.ErrConflict. An event whose Seq is
// 0 gets the next number.
func (s *Journal) Append(_ context.Context, events ...ci.Event) error {
	if len(events) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.append(events)
}

// Create stores a new build, queued, under the number that it has. One with the
// same ID is the answer instead, with made false, when it is there already: in a
// journal the ID is the key.
func (s *Journal) Create(_ context.Context, b ci.Build, _ string) (got ci.Build, made bool, err error) {
	if b.Status == "" {
		b.Status = ci.Queued
	}
	if b.ID == "" || b.Status != ci.Queued {
		return ci.Build{}, false, fmt.Errorf("create build %q: want an ID and status queued: %w", b.ID, ci.ErrInvalid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	earlier, _, err := s.Load(context.Background(), b.ID)
	switch {
	case err == nil && earlier.Project != b.Project:
		return ci.Build{}, false, fmt.Errorf("create build: build %s is of another project: %w", b.ID, ci.ErrConflict)
	case err == nil:
		return earlier, false, nil
	case !errors.Is(err, ci.ErrNotFound):
		return ci.Build{}, false, err
	}
	e := ci.NewEvent(ci.EventBuildQueued, b)
	e.Seq, e.Time = 1, b.Queued
	if err := s.append([]ci.Event{e}); err != nil {
		return ci.Build{}, false, err
	}
	return b, true, nil
}

// append is Append. Under s.mu.
func (s *Journal) append(events []ci.Event) error {
	id := events[0].Build
	j, err := s.load(id, events[0].Type == ci.EventBuildQueued)
	if err != nil {
		return err
	}
	if j.seq == 0 && events[0].Type != ci.EventBuildQueued {
		return fmt.Errorf("build %s: %w", id, ci.ErrNotFound) // its first event was refused
	}
	next, events, err := applyAll(j.build, j.seq, events)
	if err != nil {
		return err
	}
	// One write for the whole transition, ended by a newline: a torn write has
	// none and is cut off when the journal is read again.
	line, err := json.Marshal(events)
	if err != nil {
		return fmt.Errorf("encode events of build %s: %w", id, err)
	}
	if _, err := j.file.WriteAt(append(line, '\n'), j.size); err != nil {
		_ = j.file.Truncate(j.size)
		return fmt.Errorf("store events of build %s: %w", id, err)
	}
	if s.sync {
		if err := j.file.Sync(); err != nil {
			return fmt.Errorf("store events of build %s: %w", id, err)
		}
	}
	j.size += int64(len(line)) + 1
	j.build, j.seq = next, j.seq+int64(len(events))
	if next.Status.Done() {
		delete(s.open, id)
		return j.file.Close()
	}
	return nil
}

// applyAll gives the build after the events, and them with their numbers.
func applyAll(b ci.Build, seq int64, events []ci.Event) (ci.Build, []ci.Event, error) {
	// Apply writes into the slices it finds, so a refused second event must not
	// leave traces of the first in what is kept.
	b.Jobs = append([]ci.JobRun(nil), b.Jobs...)
	for i := range b.Jobs {
		b.Jobs[i].Steps = append([]ci.StepRun(nil), b.Jobs[i].Steps...)
	}
	numbered := append([]ci.Event(nil), events...)
	for i := range numbered {
		e := &numbered[i]
		seq++
		if e.Build != events[0].Build {
			return b, nil, fmt.Errorf("events of builds %s and %s in one transition: %w", events[0].Build, e.Build, ci.ErrInvalid)
		}
		if e.Seq == 0 {
			e.Seq = seq
		}
		if e.Seq != seq {
			return b, nil, fmt.Errorf("event %d of build %s does not follow on event %d, the last that is stored: %w", e.Seq, e.Build, seq-1, ci.ErrConflict)
		}
		if err := b.Apply(*e); err != nil {
			return b, nil, err
		}
	}
	return b, numbered, nil
}

// Open lists the builds that are not done, oldest first.
func (s *Journal) Open(ctx context.Context) ([]ci.Build, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.events"))
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	sort.Strings(names)
	var open []ci.Build
	for _, name := range names {
		id := ci.BuildID(strings.TrimSuffix(filepath.Base(name), ".events"))
		b, _, err := s.Load(ctx, id)
		if errors.Is(err, ci.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !b.Status.Done() {
			open = append(open, b)
		}
	}
	return open, nil
}

// Load reads a build and its events in order. A build that is not there is ci.ErrNotFound.
func (s *Journal) Load(_ context.Context, id ci.BuildID) (ci.Build, []ci.Event, error) {
	f, err := os.Open(s.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return ci.Build{}, nil, fmt.Errorf("build %s: %w", id, ci.ErrNotFound)
	}
	if err != nil {
		return ci.Build{}, nil, fmt.Errorf("read build %s: %w", id, err)
	}
	defer f.Close()
	b, events, _, err := replay(f)
	if err != nil {
		return ci.Build{}, nil, fmt.Errorf("read build %s: %w", id, err)
	}
	if len(events) == 0 { // killed before its first write was whole
		return ci.Build{}, nil, fmt.Errorf("build %s: %w", id, ci.ErrNotFound)
	}
	return b, events, nil
}

func (s *Journal) path(id ci.BuildID) string { return filepath.Join(s.dir, string(id)+".events") }

// load opens a build for writing, cutting off a torn last line. Under s.mu.
func (s *Journal) load(id ci.BuildID, create bool) (*journal, error) {
	if j := s.open[id]; j != nil {
		return j, nil
	}
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(s.path(id), flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("build %s: %w", id, ci.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open build %s: %w", id, err)
	}
	b, events, size, err := replay(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open build %s: %w", id, err)
	}
	j := &journal{file: f, build: b, seq: int64(len(events)), size: size}
	s.open[id] = j
	return j, nil
}

// replay folds the events of a file into their build; size is where the last
// whole line ends.
func replay(r io.Reader) (b ci.Build, events []ci.Event, size int64, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			return b, events, size, nil
		}
		if err != nil {
			return b, events, size, err
		}
		var batch []ci.Event
		if err := json.Unmarshal(bytes.TrimSpace(line), &batch); err != nil {
			return b, events, size, fmt.Errorf("line %d: %w: %w", n, err, ci.ErrInvalid)
		}
		for _, e := range batch {
			if err := b.Apply(e); err != nil {
				return b, events, size, fmt.Errorf("line %d: %w", n, err)
			}
		}
		events = append(events, batch...)
		size += int64(len(line))
	}
}
