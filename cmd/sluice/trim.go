package main

import (
	"context"
	"time"
)

// trimEvery is how often what is older than it is to be kept is removed.
const trimEvery = time.Hour

// trimAudit removes old entries of the audit until ctx ends.
func (s *server) trimAudit(ctx context.Context) error {
	if s.cfg.auditKeep == 0 {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(trimEvery)
	defer t.Stop()
	for {
		n, err := s.db.TrimAudit(ctx, time.Now().Add(-s.cfg.auditKeep))
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn("old entries of the audit stay for now", "err", err)
		case n > 0:
			s.log.Info("removed old entries of the audit", "entries", n)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}
