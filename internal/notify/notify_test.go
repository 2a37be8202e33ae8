package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestWebhook(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url, got := receiver(t, nil)
	target := b.target(ci.Target{Name: "hook", Kind: ci.TargetWebhook, URL: url}, "whsec_key")
	rec := b.build("main", ci.Failed)
	b.run(b.config())
	r := next(t, got)
	e := r.event(t)
	if e.SpecVersion != "1.0" || e.ID != "b0001.3" || e.Source != "http://ci.example.com/projects/app" || e.Subject != "app/1" ||
		e.Type != "com.github.sluice-ci.sluice.build_finished" || e.DataContentType != "application/json" || e.Time.IsZero() {
		t.Errorf("got envelope %+v", e)
	}
	if d := e.Data; d.Build != rec.ID || d.Status != ci.Failed || d.Change != ci.ChangeBroken || d.Reason != "a reason" ||
		d.URL != "http://ci.example.com/projects/app/builds/1" || d.Commit != "c0ffee1234567890" || d.Ref != "refs/heads/main" {
		t.Errorf("got %+v", d)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("sent as %s", ct)
	}
	if err := client.VerifyWebhook("whsec_key", r.header.Get(SignatureHeader), r.body, time.Now(), time.Minute); err != nil {
		t.Errorf("what the public client says of the signature %q: %v", r.header.Get(SignatureHeader), err)
	}
	for name, bad := range map[string]error{
		"another key":  client.VerifyWebhook("whsec_other", r.header.Get(SignatureHeader), r.body, time.Now(), time.Minute),
		"another body": client.VerifyWebhook("whsec_key", r.header.Get(SignatureHeader), append(r.body, ' '), time.Now(), time.Minute),
		"much later":   client.VerifyWebhook("whsec_key", r.header.Get(SignatureHeader), r.body, time.Now().Add(time.Hour), time.Minute),
		"none":         client.VerifyWebhook("whsec_key", "", r.body, time.Now(), time.Minute),
	} {
		if !errors.Is(bad, client.ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, bad)
		}
	}
	b.until(target, "a delivery", all(1, ci.DeliveryDelivered))
}

// What a receiver does not take is sent again, in the end given up, and kept.
func TestRetriesAndDeadLetters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var well atomic.Bool
	url, got := receiver(t, func(n int, w http.ResponseWriter, _ received) {
		switch {
		case well.Load() || n == 3:
		case n == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("come\nback \x1b[31mlater"))
		case n == 2:
			http.Redirect(w, &http.Request{Method: "POST"}, "http://elsewhere.example.com/", http.StatusTemporaryRedirect)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	})
	target := b.target(ci.Target{Name: "hook", Kind: ci.TargetWebhook, URL: url}, "")
	b.build("main", ci.Succeeded)
	_, stop := b.run(b.config())
	for attempt := 1; attempt <= 3; attempt++ {
		r := next(t, got)
		if id := r.event(t).ID; id != "b0001.3" || r.header.Get("Sluice-Attempt") != fmt.Sprint(attempt) {
			t.Errorf("attempt %d: got event %s, Sluice-Attempt %s", attempt, id, r.header.Get("Sluice-Attempt"))
		}
	}
	list := b.until(target, "a delivery", all(1, ci.DeliveryDelivered))
	if list[0].Attempts != 3 || list[0].Error != "" {
		t.Errorf("got %+v, want 3 attempts and no error", list[0])
	}
	stop()

	c := b.config()
	c.For = time.Nanosecond
	b.build("main", ci.Failed)
	b.run(c)
	list = b.until(target, "one that is given up", func(l []ci.Delivery) bool { return len(l) == 2 && l[0].State == ci.DeliveryDead })
	if !strings.Contains(list[0].Error, "418") {
		t.Errorf("got error %q, want the answer in it", list[0].Error)
	}
	well.Store(true)
	if n, err := b.db.Redeliver(t.Context(), target.ID, 0); err != nil || n != 1 {
		t.Fatalf("redeliver: %d, %v", n, err)
	}
	b.until(target, "both", all(2, ci.DeliveryDelivered))
}

// One who does not answer holds up nobody else.
func TestSlowTargetHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	release := make(chan struct{})
	slow, _ := receiver(t, func(int, http.ResponseWriter, received) { <-release })
	t.Cleanup(func() { close(release) })
	quick, got := receiver(t, nil)
	b.target(ci.Target{Name: "a", Kind: ci.TargetWebhook, URL: slow}, "")
	dead := b.target(ci.Target{Name: "b", Kind: ci.TargetWebhook, URL: "http://127.0.0.1:1/"}, "")
	b.target(ci.Target{Name: "c", Kind: ci.TargetWebhook, URL: quick}, "")
	b.run(b.config())
	for n := range 20 {
		b.build("main", ci.Succeeded)
		if s := next(t, got).event(t).Subject; s != fmt.Sprintf("app/%d", n+1) {
			t.Errorf("got %s, want app/%d", s, n+1)
		}
	}
	b.until(dead, "attempts that fail", func(l []ci.Delivery) bool {
		return len(l) == 20 && l[19].Attempts > 0 && strings.Contains(l[19].Error, "refused")
	})
}

// Stopped while it waits for an answer, it sends again: whether that arrived is
// not known. What arrived while nobody ran is sent too.
func TestStoppedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hang := make(chan struct{})
	began := make(chan received, 10)
	url, got := receiver(t, func(n int, _ http.ResponseWriter, r received) {
		if n == 1 {
			began <- r
			<-hang
		}
	})
	t.Cleanup(func() { close(hang) }) // before the receiver is closed, which waits for its answers
	target := b.target(ci.Target{Name: "hook", Kind: ci.TargetWebhook, URL: url}, "")
	b.build("main", ci.Succeeded)
	_, stop := b.run(b.config())
	first := next(t, began).event(t)
	stop()
	b.build("main", ci.Succeeded)
	b.run(b.config())
	if again := next(t, got).event(t); again.ID != first.ID {
		t.Errorf("got %s, want %s again", again.ID, first.ID)
	}
	if e := next(t, got).event(t); e.Subject != "app/2" {
		t.Errorf("got %s, want what happened meanwhile", e.Subject)
	}
	b.until(target, "both", all(2, ci.DeliveryDelivered))
}

func TestFilters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url, got := receiver(t, nil)
	_ = got
	put := func(name string, f ci.Target) ci.Target {
		f.Name, f.Kind, f.URL = name, ci.TargetWebhook, url
		return b.target(f, "")
	}
	targets := map[string]struct {
		target ci.Target
		want   string // builds and what of them
	}{
		"all":      {put("all", ci.Target{}), "1 2 3 4 5 6"},
		"changed":  {put("changed", ci.Target{Changed: true}), "2 4 6"},
		"failed":   {put("failed", ci.Target{Statuses: []ci.Status{ci.Failed, ci.Errored}}), "2 3 6"},
		"branch":   {put("branch", ci.Target{Branches: []string{"release/*"}}), "6"},
		"events":   {put("events", ci.Target{Events: []ci.EventType{ci.EventBuildStarted, ci.EventBuildFinished}, Branches: []string{"rel*"}}), "6 6"},
		"projects": {put("projects", ci.Target{Projects: []string{"web", "?pp"}, Branches: []string{"release/1"}}), "6"},
		"other":    {put("other", ci.Target{Projects: []string{"web"}}), ""},
		"disabled": {put("disabled", ci.Target{Disabled: true}), ""},
	}
	for _, c := range []struct {
		ref    string
		status ci.Status
	}{{"main", ci.Succeeded}, {"main", ci.Failed}, {"main", ci.Failed}, {"main", ci.Succeeded}, {"main", ci.Canceled}, {"release/1", ci.Failed}} {
		b.build(c.ref, c.status)
	}
	b.run(b.config())
	b.until(targets["all"].target, "six", all(6, ci.DeliveryDelivered))
	for name, c := range targets {
		list := b.until(c.target, name, func(l []ci.Delivery) bool { return len(l) == len(strings.Fields(c.want)) })
		text := ""
		for _, d := range list {
			text = fmt.Sprint(d.Notice.Number, " ", text)
		}
		if strings.TrimSpace(text) != c.want {
			t.Errorf("%s: got builds %s, want %s", name, text, c.want)
		}
	}
}

// Two processes on one database: one of them sends, and the other takes over.
func TestOneSends(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	url, got := receiver(t, nil)
	target := b.target(ci.Target{Name: "hook", Kind: ci.TargetWebhook, URL: url}, "")
	c := b.config()
	asked := make(chan struct{}, 1)
	c.Lease = func(_ context.Context, _ time.Duration) error {
		select {
		case asked <- struct{}{}:
		default:
		}
		return fmt.Errorf("another has it: %w", ci.ErrConflict)
	}
	_, stop := b.run(c)
	<-asked
	b.build("main", ci.Succeeded)
	stop()
	if list, _, err := b.db.Deliveries(t.Context(), target.ID, "", "", 10); err != nil || len(list) != 0 || len(got) != 0 {
		t.Errorf("got %v, %v and %d requests of one that may not send", list, err, len(got))
	}
	c.Lease = func(context.Context, time.Duration) error { return nil }
	b.run(c)
	next(t, got)
}
