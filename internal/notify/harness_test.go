package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// bench is a real store with a notifier on it.
type bench struct {
	t  *testing.T
	db *store.DB
	n  int64 // builds made
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.OpenDB(t.Context(), filepath.Join(t.TempDir(), "sluice.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &bench{t: t, db: db}
}

// config is one of a notifier that may send to this machine, and does not wait long.
func (b *bench) config() Config {
	return Config{
		Store: b.db, Open: func(_ context.Context, _, sealed string) (string, error) { return sealed, nil }, URL: func() string { return "http://ci.example.com" },
		Allow: Allowed{all: true}, First: time.Millisecond, Most: 4 * time.Millisecond, Pace: time.Millisecond, Each: 20 * time.Second,
	}
}

// run has a notifier run until the answer is called, or the test ends.
func (b *bench) run(c Config) (n *Notifier, stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n = New(c)
	var work sync.WaitGroup
	work.Go(func() {
		if err := n.Run(ctx); err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
	})
	b.t.Cleanup(stop)
	return n, stop
}

func (b *bench) target(t ci.Target, secret string) ci.Target {
	b.t.Helper()
	put, _, err := b.db.PutTarget(b.t.Context(), t, &secret)
	if err != nil {
		b.t.Fatal(err)
	}
	return put
}

// build has a build of a branch begin and end.
func (b *bench) build(ref string, status ci.Status) ci.Build {
	b.t.Helper()
	b.n++
	rec, _, err := b.db.Create(b.t.Context(), ci.Build{
		ID: ci.BuildID(fmt.Sprintf("b%04d", b.n)), Project: "app", Queued: time.Unix(1_800_000_000+b.n, 0), Initiator: "ann",
		Commit: ci.Commit{Hash: "c0ffee1234567890", Ref: "refs/heads/" + ref, Subject: "mend <it> @here", Author: "Ann"},
	}, "")
	if err != nil {
		b.t.Fatal(err)
	}
	rec.Status, rec.Started = ci.Running, rec.Queued.Add(time.Second)
	started := ci.NewEvent(ci.EventBuildStarted, rec)
	rec.Status, rec.Ended = status, rec.Queued.Add(3*time.Second)
	if status != ci.Succeeded {
		rec.Reason = "a reason"
	}
	finished := ci.NewEvent(ci.EventBuildFinished, rec)
	started.Time, finished.Time = rec.Started, rec.Ended
	if err := b.db.Append(b.t.Context(), started, finished); err != nil {
		b.t.Fatal(err)
	}
	return rec
}

// until waits until the deliveries to a target are as yes wants them.
func (b *bench) until(target ci.Target, what string, yes func([]ci.Delivery) bool) []ci.Delivery {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	for {
		changed := b.db.Changed()
		list, _, err := b.db.Deliveries(ctx, target.ID, "", "", 1000)
		if err != nil {
			b.t.Fatal(err)
		}
		if yes(list) {
			return list
		}
		select {
		case <-changed:
		case <-ctx.Done():
			b.t.Fatalf("waited for %s; there are %+v", what, list)
		}
	}
}

// all says whether there are n deliveries, all in one state.
func all(n int, state ci.DeliveryState) func([]ci.Delivery) bool {
	return func(list []ci.Delivery) bool {
		for _, d := range list {
			if d.State != state {
				return false
			}
		}
		return len(list) == n
	}
}

// received is a request that a receiver got.
type received struct {
	header http.Header
	body   []byte
}

func (r received) event(t *testing.T) CloudEvent {
	t.Helper()
	var e CloudEvent
	if err := json.Unmarshal(r.body, &e); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return e
}

// receiver is a program that is told things; answer says what it says to each.
func receiver(t *testing.T, answer func(n int, w http.ResponseWriter, r received)) (url string, got <-chan received) {
	t.Helper()
	all := make(chan received, 1000)
	var mu sync.Mutex
	count := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		count++
		n := count
		mu.Unlock()
		one := received{r.Header, body}
		if answer != nil {
			answer(n, w, one)
		}
		all <- one
	}))
	t.Cleanup(s.Close)
	return s.URL + "/hook", all
}

func next(t *testing.T, got <-chan received) received {
	t.Helper()
	select {
	case r := <-got:
		return r
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		return received{}
	}
}
