package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
)

// cutter passes connections on to a server and cuts each after some bytes of the
// answer, fewer than any answer has.
type cutter struct {
	net.Listener
	target atomic.Pointer[string]
	after  atomic.Int64 // bytes of an answer; 0 = do not cut
	cuts   atomic.Int64
	work   sync.WaitGroup
}

func newCutter(w *world, after int64) *cutter {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	c := &cutter{Listener: l}
	c.aim(w.url)
	c.after.Store(after)
	c.work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.work.Go(func() { c.pass(conn) })
		}
	})
	w.t.Cleanup(func() {
		_ = l.Close()
		c.work.Wait()
	})
	return c
}

// aim has the connections that are still to come go to a server.
func (c *cutter) aim(url string) {
	host := strings.TrimPrefix(url, "http://")
	c.target.Store(&host)
}

func (c *cutter) pass(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", *c.target.Load())
	if err != nil {
		return
	}
	defer server.Close()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
	})
	if n := c.after.Load(); n > 0 {
		if m, _ := io.CopyN(conn, server, n); m == n {
			c.cuts.Add(1)
		}
	} else {
		_, _ = io.Copy(conn, server)
	}
	_ = conn.Close()
	_ = server.Close()
	up.Wait()
}

func (c *cutter) client(w *world) *client.Client {
	w.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true} // each attempt is a connection of its own, to be cut
	w.t.Cleanup(transport.CloseIdleConnections)
	cl, err := client.New("http://"+c.Addr().String(), w.token, client.WithHTTP(&http.Client{Transport: transport}),
		client.WithRetry(client.Retry{First: time.Millisecond, Most: time.Millisecond, Attempts: 5, Silence: 20 * time.Second}))
	if err != nil {
		w.t.Fatal(err)
	}
	return cl
}

// TestCutConnections reads a log and events over connections that are cut again
// and again: nothing is lost, nothing comes twice.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", "phases: {build: {commands: ['print 40000', 'echo middle; wait gate', 'print 20000', 'echo end']}}\n")
	w.start("web", client.StartBuild{})
	<-w.script.Reached("gate")
	cut := newCutter(w, 1500) // the header takes some 350 of them
	c := cut.client(w)
	var log strings.Builder
	r, err := c.Log(t.Context(), "web", 1, client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var seqs []int64
	var work sync.WaitGroup
	var eventsErr error
	work.Go(func() {
		eventsErr = c.Events(t.Context(), "web", 1, 0, func(e client.Event) error {
			seqs = append(seqs, e.Seq)
			// The events of this build are bigger than what passes in one piece.
			cut.after.Store(1500 + int64(len(seqs))*700)
			return nil
		})
	})
	buf := make([]byte, 700)
	for !strings.Contains(log.String(), "middle\n") {
		n, err := r.Read(buf)
		if log.Write(buf[:n]); err != nil {
			t.Fatalf("after %d bytes: %v", log.Len(), err)
		}
	}
	w.script.Release("gate")
	if _, err := io.Copy(&log, r); err != nil {
		t.Fatalf("after %d bytes: %v", log.Len(), err)
	}
	work.Wait()
	if want := w.readLog("web", 1, client.LogOptions{}); log.String() != want || len(want) < 60_000 {
		t.Errorf("got %d bytes of log, want the %d there are, the same", log.Len(), len(want))
	}
	if eventsErr != nil {
		t.Error(eventsErr)
	}
	for i, seq := range seqs {
		if seq != int64(i+1) {
			t.Fatalf("got events %v: want each once, in order", seqs)
		}
	}
	if n := cut.cuts.Load(); n < 4 { // the pieces grow with the events, which may all come first
		t.Errorf("the connection was cut %d times, which proves little", n)
	}
}

// TestServerStops ends streams in the middle: a reader goes on at the next server.
func TestServerStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", "phases: {build: {commands: ['echo one; wait gate; echo two']}}\n")
	w.start("web", client.StartBuild{})
	cut := newCutter(w, 0)
	r, err := cut.client(w).Log(t.Context(), "web", 1, client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := bufio.NewReader(r)
	if line, err := lines.ReadString('\n'); line != "one\n" {
		t.Fatalf("got %q, %v; want one", line, err)
	}
	next := api.New(api.Config{App: w.app, Identify: w.auth.Identify})
	cut.aim(w.serve(next.Server()))
	w.api.EndStreams()
	w.script.Release("gate")
	if rest, err := io.ReadAll(lines); string(rest) != "two\n" || err != nil {
		t.Errorf("got %q, %v; want two", rest, err)
	}
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Heartbeat = time.Millisecond })
	w.project("web", "phases: {build: {commands: ['wait gate']}}\n")
	w.start("web", client.StartBuild{})
	<-w.script.Reached("gate")
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/projects/web/builds/1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Last-Event-ID", "2")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("got %s", got)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	lines.Scan()
	if lines.Text() != "id: 3" {
		t.Errorf("got %q first, want the event behind number 2", lines.Text())
	}
	for lines.Scan() && !strings.HasPrefix(lines.Text(), ":") {
	}
	if !strings.HasPrefix(lines.Text(), ": ") {
		t.Errorf("got %q, want a sign of life", lines.Text())
	}
	w.script.Release("gate")
	var names []string
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			names = append(names, name)
		}
	}
	if n := len(names); n < 2 || names[n-1] != "end" || names[n-2] != "build_finished" {
		t.Errorf("got events %v, want the last two build_finished and end", names)
	}
}

// TestReadersWhoGo has many readers follow a build and go away, and one that
// never reads: nothing stays of any, and the build goes on.
func TestReadersWhoGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *api.Config) { c.Patience = 100 * time.Millisecond })
	w.project("web", "phases: {build: {commands: ['print 8000000; wait gate', 'echo end']}}\n")
	w.start("web", client.StartBuild{})
	<-w.script.Reached("gate")
	// A server whose Shutdown waits for all that it serves, and does not end streams.
	server := &http.Server{Handler: w.api}
	w.url = w.serve(server)

	// One that asks and does not read. Its socket is full long before 8 MB.
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /api/v1/projects/web/builds/1/log?follow=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", w.token)

	ctx, leave := context.WithCancel(t.Context())
	readers := w.client(w.token)
	var work, begun sync.WaitGroup
	for range 20 {
		begun.Add(1)
		work.Go(func() {
			r, err := readers.Log(ctx, "web", 1, client.LogOptions{Follow: true, From: 7_999_000})
			if err == nil {
				defer r.Close()
				_, err = io.ReadFull(r, make([]byte, 100))
			}
			begun.Done()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err = io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want it canceled", err)
			}
		})
	}
	work.Go(func() {
		err := readers.Events(ctx, "web", 1, 0, func(client.Event) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("events: got %v, want it canceled", err)
		}
	})
	begun.Wait()
	leave()
	work.Wait()
	patience, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if err := server.Shutdown(patience); err != nil {
		t.Errorf("%v: something is still served to readers who went", err)
	}
	w.script.Release("gate")
	if b := w.done("web", 1); b.Status != client.Succeeded {
		t.Errorf("got %s: %s", b.Status, b.Reason)
	}
	if got := w.readLog("web", 1, client.LogOptions{From: 8_000_000}); !strings.HasSuffix(got, "end\n") {
		t.Errorf("got %q, want the end", got)
	}
}

// TestSteadyReader takes longer for a log than the server's patience, but never
// stands still: it gets all of it.
func TestSteadyReader(t *testing.T) {
	t.Parallel()
	const patience, size, pieces = 3 * time.Second, 16_000_000, 45 // a busy machine can stand still for a while
	w := newWorld(t, func(c *api.Config) { c.Patience = patience })
	w.project("web", fmt.Sprintf("phases: {build: {commands: ['print %d']}}\n", size))
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	begun := time.Now()
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/api/v1/projects/web/builds/1/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := http.DefaultTransport.RoundTrip(req) // and not the client, which would go on where it was cut
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	pace := time.NewTicker(patience / (pieces - 5))
	defer pace.Stop()
	var got int64
	for err == nil {
		<-pace.C
		var n int64
		n, err = io.CopyN(io.Discard, resp.Body, size/pieces)
		got += n
	}
	if got < size || err != io.EOF {
		t.Errorf("got %d of %d bytes after %s, %v", got, size, time.Since(begun), err)
	}
}
