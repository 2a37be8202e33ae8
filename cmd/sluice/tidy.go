package main

import (
	"context"
	"time"
)

// packEvery is how often sealed logs are looked for.
const packEvery = time.Minute

// packLogs stores logs with the blobs that could not be stored at once, and compresses logs some time after they were sealed, one after another,
// until ctx ends.
func (s *server) packLogs(ctx context.Context) error {
	every := time.NewTicker(min(packEvery, max(s.cfg.packLogs, time.Second)))
	defer every.Stop()
	for {
		if err := s.logs.Ship(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("logs could not be stored with the blobs and stay here for now", "err", err)
		}
		done, err := s.logs.Pack(ctx, s.cfg.packLogs)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it goes on at the next start
		}
		if err != nil {
			s.log.Warn("logs could not be packed and stay as they are for now", "err", err)
		}
		if done.Logs > 0 {
			s.log.Debug("logs were packed", "logs", done.Logs, "before", done.Before, "after", done.After)
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
	}
}
