package main

import (
	"context"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/notify"
)

// newNotifier makes what tells others of what happened.
func (s *server) newNotifier() (*notify.Notifier, error) {
	allow, err := notify.ParseAllowed(s.cfg.notifyAllow)
	if err != nil {
		return nil, err
	}
	c := notify.Config{Store: s.db, Open: s.sealer.Unseal, URL: func() string { return s.cfg.url }, Allow: allow, For: s.cfg.notifyFor, Log: s.log}
	if strings.HasPrefix(s.cfg.database, "postgres") {
		if c.Lease, err = s.leaseOf("notifications"); err != nil {
			return nil, err
		}
	}
	return notify.New(c), nil
}

// leaseOf is the right of one process among those that share the database. It is
// this server's again at once when it was killed and starts anew.
func (s *server) leaseOf(what ci.JobID) (func(context.Context, time.Duration) error, error) {
	owner, err := nodeName(s.path("node"))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, length time.Duration) error { return s.db.Lease(ctx, what, owner, length) }, nil
}

// tryTarget sends a notice once.
func (s *server) tryTarget(ctx context.Context, t ci.Target, n ci.Notice) error {
	n.URL = s.cfg.url
	return s.notifier.Send(ctx, t, ci.Delivery{Target: t.ID, Notice: n})
}
