package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
	"github.com/sluice-ci/sluice/internal/store/storetest"
)

// wire stands between a DB and PostgreSQL and cuts the connection on which a
// COMMIT goes by: before PostgreSQL has it, or when its answer comes back.
type wire struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	cut   string // "before", "after" or "" = not
	cuts  int
	conns []net.Conn

	refused chan struct{} // one when nobody was there
}

// through gives the URL of the database by way of a wire.
func through(t *testing.T, databaseURL string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, server: u.Host, refused: make(chan struct{}, 1)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.mu.Unlock()
		serving.Wait()
	})
	u.Host = l.Addr().String()
	return w, u.String()
}

func (w *wire) carry(client net.Conn) {
	w.mu.Lock()
	address := w.server
	w.mu.Unlock()
	server, err := net.Dial("tcp", address)
	if err != nil {
		_ = client.Close()
		select {
		case w.refused <- struct{}{}:
		default:
		}
		return
	}
	w.mu.Lock()
	w.conns = append(w.conns, client, server)
	w.mu.Unlock()
	var answers sync.WaitGroup
	swallow := make(chan struct{}) // closed: the next answer ends the connection
	answers.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			select {
			case <-swallow:
				return
			default:
			}
			if n > 0 {
				_, _ = client.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	})
	defer answers.Wait()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		switch how := w.at(buf[:n]); how {
		case "before":
			_ = client.Close()
			return
		case "after":
			close(swallow)
			_, _ = server.Write(buf[:n])
			answers.Wait()
			return
		}
		if n > 0 {
			_, _ = server.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// at says what to do with a message: each setting of cut works once.
func (w *wire) at(message []byte) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut == "" || !bytes.Contains(message, []byte("COMMIT\x00")) {
		return ""
	}
	how := w.cut
	w.cut = ""
	w.cuts++
	return how
}

func (w *wire) setCut(how string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = how
}

// Whether the connection goes before the commit has arrived or after it was
// done, what was asked for is stored once and nobody is told otherwise.
func TestConnectionLostDuringCommit(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"before", "after"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w, u := through(t, postgresURL(t))
			db := openURL(t, u)
			w.setCut(how)
			got, made, err := db.Create(t.Context(), ci.Build{ID: "b", Project: "p"}, "key")
			if err != nil || !made || got.Number != 1 {
				t.Fatalf("got number %d, made %v, %v", got.Number, made, err)
			}
			w.setCut(how)
			if err := db.Append(t.Context(), storetest.Started("b"), ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: "b/j", Status: ci.Queued})); err != nil {
				t.Fatal(err)
			}
			if w.cuts != 2 {
				t.Errorf("%d connections were cut, want 2", w.cuts)
			}
			b, events, err := db.Load(t.Context(), "b")
			if err != nil || b.Status != ci.Running || len(events) != 3 {
				t.Errorf("got %s with %d events, %v; want running with 3", b.Status, len(events), err)
			}
		})
	}
}

// Connections that go at any moment, of writers and of whoever listens, cost time
// and nothing else: all is stored once, and each reader gets all of it.
func TestConnectionsLostAtAnyMoment(t *testing.T) {
	t.Parallel()
	direct := postgresURL(t)
	w, u := through(t, direct)
	db, reader := openURL(t, u), openURL(t, direct)
	const writers, builds = 4, 15
	var wg sync.WaitGroup
	for c := range writers {
		wg.Go(func() {
			for n := range builds {
				id := ci.BuildID(fmt.Sprintf("b%d-%d", c, n))
				_, made, err := db.Create(t.Context(), ci.Build{ID: id, Project: "p"}, string(id))
				if err == nil && n%3 == c%3 {
					w.cutAll()
				}
				if err == nil {
					err = db.Append(t.Context(), storetest.Started(id))
				}
				if err != nil || !made {
					t.Errorf("build %s: made %v, %v", id, made, err)
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := follow(ctx, reader, 2*writers*builds); err != nil {
		t.Error(err)
	}
	wg.Wait()
	numbers := map[int64]bool{}
	page, _, err := reader.Builds(t.Context(), store.Filter{Limit: 1000})
	for _, b := range page {
		_, events, err := reader.Load(t.Context(), b.ID)
		if err != nil || len(events) != 2 {
			t.Errorf("build %s has %d events, %v; want 2", b.ID, len(events), err)
		}
	}
	for n := range int64(writers * builds) {
		if _, err := reader.BuildByNumber(t.Context(), "p", n+1); err == nil {
			numbers[n+1] = true
		}
	}
	if err != nil || len(page) != writers*builds || len(numbers) != writers*builds {
		t.Errorf("%d builds with %d numbers, %v; want %d", len(page), len(numbers), err, writers*builds)
	}
}

// Whoever only reads is told what it is, whenever the connection goes.
func TestReadsSayThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	w, u := through(t, postgresURL(t))
	db := openURL(t, u)
	if err := db.Append(t.Context(), storetest.Queued("b")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var reading sync.WaitGroup
	var good, bad atomic.Int64
	for range 4 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _, err := db.Load(t.Context(), "b")
				switch {
				case err == nil:
					good.Add(1)
				case errors.Is(err, ci.ErrUnavailable):
					bad.Add(1)
				default:
					t.Errorf("got %v, want ErrUnavailable", err)
					return
				}
			}
		})
	}
	for n := int64(0); n < 50; n++ {
		for before := good.Load(); good.Load() == before && !t.Failed(); {
			runtime.Gosched()
		}
		w.cutAll()
	}
	close(stop)
	reading.Wait()
	t.Logf("%d reads, %d told that it is away", good.Load(), bad.Load())
}

// cutAll closes every connection there is.
func (w *wire) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// A server that comes back is waited for; one that does not is an error that
// says so, and the DB goes on when it is there again.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	w, u := through(t, postgresURL(t))
	db := openWith(t, u, store.Options{Patience: 1})
	patient := openURL(t, u)
	if err := db.Append(t.Context(), storetest.Queued("b")); err != nil {
		t.Fatal(err)
	}
	server := w.move("127.0.0.1:1") // nobody is there
	w.cutAll()
	if err := db.Append(t.Context(), storetest.Started("b")); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("append: got %v, want ErrUnavailable", err)
	}
	if _, _, err := db.Load(t.Context(), "b"); !errors.Is(err, ci.ErrUnavailable) {
		t.Errorf("load: got %v, want ErrUnavailable", err)
	}
	answer := make(chan error)
	go func() { answer <- patient.Append(t.Context(), storetest.Queued("c")) }()
	for range 3 {
		<-w.refused
	}
	w.move(server)
	if err := <-answer; err != nil {
		t.Errorf("append by one that waits: %v", err)
	}
	if err := db.Append(t.Context(), storetest.Started("b")); err != nil {
		t.Errorf("append when it is there again: %v", err)
	}
}

func (w *wire) move(server string) (before string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, w.server = w.server, server
	return before
}

// A full disk refuses whole transitions, and only for as long as it is full.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); errors.Is(err, unix.EPERM) {
		t.Skip("only root can make a small disk")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	db := openURL(t, filepath.Join(dir, "sluice.db"))
	if err := db.Append(t.Context(), storetest.Queued("b")); err != nil {
		t.Fatal(err)
	}
	if err := db.Append(t.Context(), storetest.Started("b")); err != nil {
		t.Fatal(err)
	}
	note := strings.Repeat("x", 20<<10)
	stored := 2
	var err error
	for n := 0; n < 200 && err == nil; n++ {
		job := ci.JobID("b/j" + string(rune('0'+n%10)) + strings.Repeat("i", n/10))
		err = db.Append(t.Context(), ci.NewEvent(ci.EventJobQueued, ci.JobRun{ID: job, Status: ci.Queued, Reason: note}),
			ci.NewEvent(ci.EventJobStarted, ci.JobRun{ID: job, Status: ci.Running}))
		if err == nil {
			stored += 2
		}
	}
	if !errors.Is(err, ci.ErrUnavailable) || !strings.Contains(err.Error(), "full") {
		t.Fatalf("got %v, want ErrUnavailable that says the disk is full", err)
	}
	if _, events, err := db.Load(t.Context(), "b"); err != nil || len(events) != stored {
		t.Errorf("%d events, %v; %d were acknowledged", len(events), err, stored)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := db.Append(t.Context(), storetest.Finished("b", ci.Failed)); err != nil {
		t.Errorf("with room again: %v", err)
	}
	b, events, err := db.Load(t.Context(), "b")
	if err != nil || b.Status != ci.Failed || len(events) != stored+1 {
		t.Errorf("got %s with %d events, %v; want failed with %d", b.Status, len(events), err, stored+1)
	}
}
