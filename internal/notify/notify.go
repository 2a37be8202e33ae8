package notify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Store is where events come from and deliveries are kept: store.DB.
type Store interface {
	Changed() <-chan struct{}
	AllTargets(ctx context.Context) ([]ci.Target, error)
	Happened(ctx context.Context, after int64, limit int, types ...ci.EventType) (list []ci.Stamped, upTo int64, err error)
	Listed(ctx context.Context, id ci.BuildID) (ci.Build, error)
	Before(ctx context.Context, b ci.Build) (ci.Status, error)
	Plan(ctx context.Context, plans []ci.Planned) error
	FirstDue(ctx context.Context) (map[int64]time.Time, error)
	Due(ctx context.Context, target int64, now time.Time, limit int) ([]ci.Delivery, error)
	SaveDelivery(ctx context.Context, d ci.Delivery) error
	GiveUp(ctx context.Context, target int64, before, now time.Time, why string) error
	PruneDeliveries(ctx context.Context, delivered, dead time.Time) error
}

// Config is what a Notifier works with. Store, Open and URL are needed.
type Config struct {
	Store Store
	// Open unseals what was kept of a target under a name (ci.Target.SecretName).
	Open func(ctx context.Context, name, sealed string) (string, error)
	// URL is that of this server, for links and as the source of CloudEvents.
	URL func() string

	// Allow says which addresses that are not public targets may have; the zero
	// value is none.
	Allow Allowed
	// Lease takes or renews, for a time, the right to be the one process that
	// sends; an error says that another has it. nil = there is no other.
	Lease func(ctx context.Context, length time.Duration) error

	First time.Duration // pause behind the first failed attempt, then twice as long each time; 0 = 5 s
	Most  time.Duration // the longest pause; 0 = 10 min
	For   time.Duration // a notice that cannot be delivered for that long is given up; 0 = 6 h
	Each  time.Duration // for one attempt; 0 = 15 s
	Pace  time.Duration // between two looks at events, at least; 0 = 100 ms

	Now func() time.Time // nil = time.Now
	Log *slog.Logger     // nil = nowhere

	roots *x509.CertPool // of tests; nil = the machine's
}

// How long deliveries are kept once they are done with.
const (
	keepDelivered = 7 * 24 * time.Hour
	keepDead      = 30 * 24 * time.Hour
	pruneEvery    = time.Hour
)

// leaseLength is for how long the right to send is taken; it is renewed in half of that.
const leaseLength = 20 * time.Second

// Notifier sends. Its methods are safe from several goroutines.
type Notifier struct {
	cfg  Config
	http *http.Client

	read map[int64]int64 // by target: how far was read, where that is further than stored
	poke chan struct{}   // holds one when a worker has ended

	mu      sync.Mutex
	busy    map[int64]bool // targets that a worker sends to
	healths map[int64]health
	work    sync.WaitGroup
}

// health is how a target has been doing, to leave one alone that does not answer.
type health struct {
	failures int       // in a row
	since    time.Time // of the first of them
	until    time.Time // when to try again
}

// New makes a Notifier.
func New(c Config) *Notifier {
	for _, d := range []struct {
		have  *time.Duration
		usual time.Duration
	}{{&c.First, 5 * time.Second}, {&c.Most, 10 * time.Minute}, {&c.For, 6 * time.Hour}, {&c.Each, 15 * time.Second}, {&c.Pace, 100 * time.Millisecond}} {
		if *d.have == 0 {
			*d.have = d.usual
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{cfg: c, read: map[int64]int64{}, poke: make(chan struct{}, 1), busy: map[int64]bool{}, healths: map[int64]health{}}
	n.http = n.newHTTP()
	return n
}

// Run reads events and sends notices until ctx ends, and returns when all it
// began has ended. What was being sent is sent again by the next Run.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.work.Wait()
	defer n.http.CloseIdleConnections()
	var pruned, leased time.Time
	for {
		changed := n.cfg.Store.Changed()
		now := n.cfg.Now()
		next := now.Add(time.Hour)
		var err error
		if n.cfg.Lease != nil && now.Sub(leased) > leaseLength/2 {
			if err = n.cfg.Lease(ctx, leaseLength); err == nil {
				leased = now
			}
			next = now.Add(leaseLength / 2)
		}
		switch {
		case errors.Is(err, ci.ErrConflict): // another process sends
			if !n.wait(ctx, nil, next) {
				return nil
			}
			continue
		case err == nil:
			next, err = n.round(ctx, next)
		}
		if err == nil && now.Sub(pruned) > pruneEvery {
			pruned = now
			err = n.cfg.Store.PruneDeliveries(ctx, now.Add(-keepDelivered), now.Add(-keepDead))
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			n.cfg.Log.Warn("notifications are held up; trying again", "err", err)
			next, changed = n.cfg.Now().Add(n.cfg.First), nil
		}
		// Commits come in hundreds a second; looking ten times is enough.
		if !n.wait(ctx, nil, n.cfg.Now().Add(n.cfg.Pace)) || !n.wait(ctx, changed, next) {
			return nil
		}
	}
}

// round looks at new events, and has what is due sent. It says when to look again.
func (n *Notifier) round(ctx context.Context, next time.Time) (time.Time, error) {
	targets, err := n.cfg.Store.AllTargets(ctx)
	if err != nil || len(targets) == 0 {
		return next, err
	}
	for more := true; more; {
		if more, err = n.plan(ctx, targets); err != nil {
			return next, err
		}
	}
	first, err := n.cfg.Store.FirstDue(ctx)
	if err != nil {
		return next, err
	}
	for _, t := range targets {
		due, waits := first[t.ID]
		if !waits || t.Disabled {
			continue
		}
		if due = n.begin(ctx, t, due); !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	return next, nil
}

// begin has a worker send to a target what is due, unless one does. It says when
// to look again; zero when the worker's end will say so.
func (n *Notifier) begin(ctx context.Context, t ci.Target, due time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[t.ID] {
		return time.Time{}
	}
	if rest := n.healths[t.ID].until; due.Before(rest) {
		due = rest
	}
	if due.After(n.cfg.Now()) {
		return due
	}
	n.busy[t.ID] = true
	n.work.Go(func() {
		err := n.sendDue(ctx, t)
		if err != nil && ctx.Err() == nil {
			n.cfg.Log.Warn("notices to a target are held up; trying again", "target", t.Name, "project", t.Project, "err", err)
			_ = n.wait(ctx, nil, n.cfg.Now().Add(n.cfg.First))
		}
		n.mu.Lock()
		delete(n.busy, t.ID)
		n.mu.Unlock()
		select {
		case n.poke <- struct{}{}:
		default:
		}
	})
	return time.Time{}
}

// wait until something changed, a worker ended or a time came; false when ctx
// has ended. Without changed only the time counts.
func (n *Notifier) wait(ctx context.Context, changed <-chan struct{}, until time.Time) bool {
	timer := time.NewTimer(until.Sub(n.cfg.Now()))
	defer timer.Stop()
	var poke chan struct{}
	if changed != nil {
		poke = n.poke
	}
	select {
	case <-changed:
	case <-poke:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// sendDue sends what is due to a target, in order, until nothing is or the target
// is to be left alone.
func (n *Notifier) sendDue(ctx context.Context, t ci.Target) error {
	const some = 20
	for {
		list, err := n.cfg.Store.Due(ctx, t.ID, n.cfg.Now(), some)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, d := range list {
			rest, err := n.attempt(ctx, t, d)
			if err != nil || rest {
				return err
			}
		}
	}
}

// attempt sends one notice and stores what came of it. rest says that the target
// is better left alone for now.
func (n *Notifier) attempt(ctx context.Context, t ci.Target, d ci.Delivery) (rest bool, err error) {
	sent := n.Send(ctx, t, d)
	if ctx.Err() != nil {
		return true, nil // whether it arrived is not known: it stays pending
	}
	now := n.cfg.Now()
	d.Attempts++
	d.Error = ""
	var h health
	if !hopeless(sent) { // which says nothing of the target's health
		h = n.judge(t, sent, now)
	}
	switch {
	case sent == nil:
		d.State, d.Ended, d.Due = ci.DeliveryDelivered, now, time.Time{}
	case hopeless(sent) || now.Sub(d.Created) >= n.cfg.For:
		d.State, d.Ended, d.Due, d.Error = ci.DeliveryDead, now, time.Time{}, words(sent)
		n.cfg.Log.Error("a notice could not be delivered and is given up; 'sluice notify redeliver' sends it again",
			"target", t.Name, "project", t.Project, "delivery", d.ID, "build", d.Notice.Build, "err", d.Error)
	default:
		d.Due, d.Error = now.Add(max(n.pause(d.Attempts), retryAfter(sent))), words(sent)
	}
	// The one process that sends must not lose what it learned when it is asked to stop.
	ctx = context.WithoutCancel(ctx)
	err = n.cfg.Store.SaveDelivery(ctx, d)
	if rest = now.Before(h.until); rest && err == nil {
		// The others wait behind this one; those that have for too long share its fate.
		err = n.cfg.Store.GiveUp(ctx, t.ID, now.Add(-n.cfg.For), now, words(sent))
	}
	return rest, err
}

// leaveAlone is how many failures in a row make a target rest as a whole.
const leaveAlone = 3

// judge notes how an attempt went. One target that is away is asked now and then,
// and not for each of the notices that wait for it.
func (n *Notifier) judge(t ci.Target, sent error, now time.Time) health {
	n.mu.Lock()
	defer n.mu.Unlock()
	if sent == nil {
		delete(n.healths, t.ID)
		return health{}
	}
	h := n.healths[t.ID]
	if h.failures++; h.failures == 1 {
		h.since = now
	}
	if h.failures >= leaveAlone {
		h.until = now.Add(n.pause(h.failures - leaveAlone + 1))
	}
	n.healths[t.ID] = h
	return h
}

// pause is how long to wait behind a number of failures: twice as long each time,
// and not as long as others that failed at the same time.
func (n *Notifier) pause(failures int) time.Duration {
	d := n.cfg.Most
	if shift := failures - 1; shift < 30 && n.cfg.First<<shift < d {
		d = n.cfg.First << shift
	}
	return d/2 + rand.N(d/2+1)
}

// Send makes one attempt to deliver a notice, and says what was wrong.
func (n *Notifier) Send(ctx context.Context, t ci.Target, d ci.Delivery) error {
	ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.Each, fmt.Errorf("no answer within %s", n.cfg.Each))
	defer cancel()
	secret := ""
	if t.Sealed != "" {
		var err error
		if secret, err = n.cfg.Open(ctx, t.SecretName(), t.Sealed); err != nil {
			err = fmt.Errorf("the secret of the target: %w", err)
			if errors.Is(err, ci.ErrInvalid) {
				return &Hopeless{err} // damaged; a key service that is away comes back
			}
			return err
		}
	}
	var err error
	switch {
	case t.Kind == ci.TargetWebhook:
		err = n.webhook(ctx, t, secret, d)
	case t.Kind == ci.TargetMail:
		err = n.mail(ctx, t, secret, d)
	case t.Kind.Chat():
		err = n.chat(ctx, t, secret, d)
	default:
		err = &Hopeless{fmt.Errorf("kind %q is not known to this version", t.Kind)}
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// Hopeless is an error that trying again cannot mend.
type Hopeless struct{ err error }

func (h *Hopeless) Error() string { return h.err.Error() }

// Unwrap gives what is wrong.
func (h *Hopeless) Unwrap() error { return h.err }

func hopeless(err error) bool {
	var h *Hopeless
	return errors.As(err, &h)
}

// words is an error for the list of deliveries.
func words(err error) string {
	const most = 500
	text := []rune(ci.Message(err))
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return string(text)
}
