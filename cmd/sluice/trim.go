package main

import (
	"context"
	"errors"
	"time"
)

// trimEvery is how often what is older than it is to be kept is removed.
const trimEvery = time.Hour

// testsKeep is how long a test that does not run any more is remembered.
const testsKeep = 90 * 24 * time.Hour

// trim removes what is kept for a while until ctx ends: old entries of the
// audit, sessions and links that have expired, builds beyond their retention, uploads that no build needs.
func (s *server) trim(ctx context.Context) error {
	t := time.NewTicker(trimEvery)
	defer t.Stop()
	for {
		if err := errors.Join(s.db.TrimLogins(ctx), s.forgetLink()); err != nil && ctx.Err() == nil {
			s.log.Warn("logins that have ended stay for now", "err", err)
		}
		if err := s.desk.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("builds that are no longer kept stay for now", "err", err)
		}
		if _, err := s.db.TrimTests(ctx, time.Now().Add(-testsKeep)); err != nil && ctx.Err() == nil {
			s.log.Warn("tests that no longer run stay for now", "err", err)
		}
		if err := s.desk.TidyUploads(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("uploads that no build needs stay for now", "err", err)
		}
		if s.cfg.auditKeep > 0 {
			n, err := s.db.TrimAudit(ctx, time.Now().Add(-s.cfg.auditKeep))
			switch {
			case err != nil && ctx.Err() == nil:
				s.log.Warn("old entries of the audit stay for now", "err", err)
			case n > 0:
				s.log.Info("removed old entries of the audit", "entries", n)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}
