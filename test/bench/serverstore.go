package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

const (
	fewStored  = 10_000  // of one project, when starting and idling are measured
	allStored  = 100_000 // when lists are
	spread     = 10_000  // of those, the newest, are of many projects
	manyOwners = 1_000
	big        = "big" // the project of the others
)

// serverStored measures a server that has a past: how it starts, idles and lists.
func (b *bench) serverStored(ctx context.Context) error {
	data := filepath.Join(b.dir, "stored")
	if err := b.store(ctx, data, 0, fewStored); err != nil {
		return err
	}
	if err := b.serverStart(ctx, data); err != nil {
		return err
	}
	if err := b.serverIdle(ctx, data); err != nil {
		return err
	}
	if err := b.store(ctx, data, fewStored, allStored); err != nil {
		return err
	}
	return b.serverLists(ctx, data)
}

// ownerOf is the project of the n-th build.
func ownerOf(n int) string {
	if n < allStored-spread {
		return big
	}
	return fmt.Sprintf("owner-%04d", n%manyOwners)
}

// store puts finished builds into the database of a server that does not run.
func (b *bench) store(ctx context.Context, data string, from, to int) (err error) {
	db, err := store.OpenDB(ctx, filepath.Join(data, "sluice.db"), store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	const writers = 256 // as many as the store puts into one transaction
	errs := make([]error, writers)
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < to && errs[i] == nil; n = int(next.Add(1)) - 1 {
				errs[i] = storeOne(ctx, db, n)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// storeOne stores the n-th build, and its project with the first build of it.
func storeOne(ctx context.Context, db *store.DB, n int) error {
	owner := ownerOf(n)
	src := ci.Source{Type: "git", Location: "https://git.example.com/team/" + owner + ".git", Version: "main"}
	if n == 0 || n >= allStored-spread && n < allStored-spread+manyOwners {
		if _, err := db.PutProject(ctx, ci.Project{Name: owner, Source: src}); err != nil {
			return err
		}
	}
	queued := time.Unix(1_790_000_000+int64(n), 0).UTC()
	rec, _, err := db.Create(ctx, ci.Build{
		ID: ci.NewBuildID(queued), Project: owner, Source: src, Initiator: "ann", Queued: queued, File: "buildspec.yml", Status: ci.Queued,
	}, "")
	if err != nil {
		return err
	}
	rec.Commit = ci.Commit{Hash: fmt.Sprintf("%040x", n), Ref: "refs/heads/main", Author: "Ann Example", Subject: "make it faster"}
	rec.Status, rec.Started = ci.Running, queued.Add(time.Second)
	began := ci.NewEvent(ci.EventBuildStarted, rec)
	rec.Status, rec.Ended = ci.Succeeded, queued.Add(time.Minute)
	ended := ci.NewEvent(ci.EventBuildFinished, rec)
	began.Time, ended.Time = rec.Started, rec.Ended
	return db.Append(ctx, began, ended)
}

// serverStart measures from the start of the process until it says that it is ready.
func (b *bench) serverStart(ctx context.Context, data string) error {
	var got []time.Duration
	for i := range max(b.runs, 3) + 1 {
		s, err := b.serve(ctx, data)
		if err != nil {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
		if i > 0 { // the first makes the user admin
			got = append(got, s.ready)
		}
	}
	_, floor, err := b.paired(ctx, b.runs, b.dir, []string{"/bin/true"}, []string{b.sluice, "version"})
	if err != nil {
		return err
	}
	g := median(got)
	b.add(row{what: "server start to ready, 10,000 builds stored", got: ms(g), floor: ms(floor) + " sluice version", ratio: ratio(g, floor), budget: "50 ms", ok: g <= 50*time.Millisecond})
	return nil
}

// serverIdle measures what a server takes that nobody uses.
func (b *bench) serverIdle(ctx context.Context, data string) error {
	const span = 5 * time.Second
	s, err := b.serve(ctx, data)
	if err != nil {
		return err
	}
	idle := func() error {
		if _, err := s.client.Builds(ctx, client.BuildFilter{}); err != nil { // it has been used once
			return err
		}
		before, err := s.worked()
		if err != nil {
			return err
		}
		begin := time.Now()
		select {
		case <-time.After(span): // that is what is measured
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		after, err := s.worked()
		if err != nil {
			return err
		}
		share := 100 * float64(after-before) / float64(time.Since(begin))
		size, err := s.memory("VmRSS")
		if err != nil {
			return err
		}
		mb := float64(size) / 1e6
		b.add(row{what: "  idle: memory", got: fmt.Sprintf("%.1f MB", mb), floor: "19 MB (reference probe)", ratio: mb / 19, budget: "30 MB", ok: mb <= 30})
		b.add(row{what: "  idle: processor, over 5 s", got: fmt.Sprintf("%.3f %%", share), floor: "0", budget: "0.1 %", ok: share <= 0.1})
		return nil
	}
	return errors.Join(idle(), s.stop())
}

// serverLists measures pages of 50 builds of 100,000.
func (b *bench) serverLists(ctx context.Context, data string) error {
	sql, err := bareLists(ctx, data)
	if err != nil {
		return err
	}
	s, err := b.serve(ctx, data)
	if err != nil {
		return err
	}
	lists := func() error {
		asking, err := s.asking(ctx)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			what string
			f    client.BuildFilter
		}{
			{"page of 50 of 100,000 builds, of 50 projects", client.BuildFilter{}},
			{"page of 50 of 100,000 builds, of one project", client.BuildFilter{Project: big}},
		} {
			if err := s.list(ctx, c.what, c.f, sql+asking); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(lists(), s.stop())
}

const listings = 1000

// bareLists is what such a page takes of the database alone.
func bareLists(ctx context.Context, data string) (d time.Duration, err error) {
	db, err := store.OpenDB(ctx, filepath.Join(data, "sluice.db"), store.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	times, err := repeat(listings, func() error {
		_, _, err := db.Builds(ctx, store.Filter{})
		return err
	})
	if err != nil {
		return 0, err
	}
	return percentile(times, 50), nil
}

// asking is what a page costs that nothing is looked up for: a request for
// nothing, and reading the answer's JSON as the client does.
func (s *served) asking(ctx context.Context) (time.Duration, error) {
	times, err := repeat(listings, func() error {
		_, err := s.get(ctx, "/healthz")
		return err
	})
	if err != nil {
		return 0, err
	}
	text, err := s.get(ctx, "/api/v1/builds")
	if err != nil {
		return 0, err
	}
	reading, err := repeat(listings, func() error {
		var page client.Page[client.Build]
		return json.Unmarshal(text, &page)
	})
	if err != nil {
		return 0, err
	}
	return percentile(times, 50) + percentile(reading, 50), nil
}

// get is a request without the client.
func (s *served) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", path, resp.Status, text)
	}
	return text, err
}

// list measures one kind of page: one client, then eight at once.
func (s *served) list(ctx context.Context, what string, f client.BuildFilter, floor time.Duration) error {
	page := func() error {
		p, err := s.client.Builds(ctx, f)
		if err == nil && len(p.Items) != 50 {
			err = fmt.Errorf("a page of %d builds, want 50", len(p.Items))
		}
		return err
	}
	alone, err := repeat(listings, page)
	if err != nil {
		return err
	}
	const clients = 8
	all, errs := make([][]time.Duration, clients), make([]error, clients)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range clients {
		wg.Go(func() { all[i], errs[i] = repeat(listings/4, page) })
	}
	wg.Wait()
	rate := clients * listings / 4 / time.Since(begin).Seconds()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var loaded []time.Duration
	for _, times := range all {
		loaded = append(loaded, times...)
	}
	p50, p99 := percentile(alone, 50), percentile(alone, 99)
	text := ms2(floor) + " SQL, /healthz, JSON"
	s.b.add(row{what: what, got: ms2(p50), floor: text, ratio: ratio(p50, floor), budget: "0.5 ms", ok: p50 <= 500*time.Microsecond})
	s.b.add(row{what: "  p99", got: ms2(p99), floor: text, ratio: ratio(p99, floor), budget: "reported", ok: true})
	under := percentile(loaded, 99)
	s.b.add(row{what: fmt.Sprintf("  p99 with 8 clients (%.0f/s)", rate), got: ms2(under), floor: text, ratio: ratio(under, floor), budget: "50 ms", ok: under <= 50*time.Millisecond})
	return nil
}
