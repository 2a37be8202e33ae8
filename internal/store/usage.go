package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// dayLayout is a day as a column has it; its first seven characters are the month.
const (
	dayLayout   = "2006-01-02"
	monthLength = 7
)

// meter writes down what the jobs that end with these events are charged. It is
// part of the transaction that stores their end, so that neither is there without
// the other; the state machine lets a job end once.
func (t *tx) meter(events []ci.Event) error {
	for _, e := range events {
		if e.Type != ci.EventJobFinished {
			continue
		}
		j, err := ci.JobOf(e)
		if err != nil {
			return err
		}
		project, err := t.charge(e.Build, j)
		if err == nil && project != "" {
			err = t.alert(e.Build, project, ci.MonthOf(j.Ended))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// charge is meter for one job, and says to which project. "" = it was charged
// before, or held nothing.
func (t *tx) charge(build ci.BuildID, j ci.JobRun) (project string, err error) {
	c, ok := j.ChargeOf()
	if !ok {
		return "", nil
	}
	day := j.Ended.UTC().Format(dayLayout)
	cost := ci.Millionths(c.Cost)
	made, err := t.returning([]any{&project}, `INSERT INTO metered
			(job, build, project, ref, initiator, day, executor, type, size, currency, seconds, billed, cost)
		SELECT $1, id, project, ref, initiator, $2, $3, $4, $5, $6, CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($9 AS BIGINT) FROM builds WHERE id = $10
		ON CONFLICT (job) DO NOTHING RETURNING project`,
		string(j.ID), day, plain(c.Executor), plain(c.Type), plain(c.Size), plain(c.Currency), c.Seconds, c.Billed, cost, string(build))
	if err != nil || !made {
		return "", err
	}
	_, err = t.exec(`INSERT INTO spending (month, project, currency, billed, cost) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (month, project, currency) DO UPDATE SET billed = spending.billed + excluded.billed, cost = spending.cost + excluded.cost`,
		day[:monthLength], project, plain(c.Currency), c.Billed, cost)
	return project, err
}

// backfillAtOnce is how many jobs are metered in one transaction.
const backfillAtOnce = 200

// finishMetering meters the jobs that had ended before there was a table for it.
func (db *DB) finishMetering(ctx context.Context) {
	after, found := int64(0), false
	err := db.query(ctx, func(r *sql.Rows) error {
		found = true
		return r.Scan(&after)
	}, "SELECT after FROM backfills WHERE name = 'metered'")
	if err == nil && found {
		_, err = db.backfill(ctx, after)
	}
	if err != nil && ctx.Err() == nil {
		db.opt.Log.Warn("jobs of earlier versions are not all metered; the next start tries again", "error", err)
	}
}

// backfill meters the jobs that ended with an event behind that one. added counts them.
func (db *DB) backfill(ctx context.Context, after int64) (added int, err error) {
	for more := true; more && err == nil; {
		var ended []Stamped
		if ended, err = db.ended(ctx, after); err != nil {
			break
		}
		if more = len(ended) > 0; more {
			after = ended[len(ended)-1].Cursor
		}
		made := 0
		err = db.write(ctx, func(t *tx) error {
			made = 0
			for _, e := range ended {
				j, err := ci.JobOf(e.Event)
				if err != nil {
					return err
				}
				project, err := t.charge(e.Build, j)
				if err != nil {
					return err
				}
				if project != "" {
					made++
				}
			}
			text, args := "UPDATE backfills SET after = $1 WHERE name = 'metered'", []any{after}
			if !more {
				text, args = "DELETE FROM backfills WHERE name = 'metered'", nil
			}
			_, err := t.exec(text, args...)
			return err
		})
		added += made
	}
	return added, err
}

// ended reads ends of jobs from behind an event on.
func (db *DB) ended(ctx context.Context, after int64) (list []Stamped, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var s Stamped
		var data string
		err := r.Scan(&s.Cursor, &s.Build, &s.Seq, &data)
		s.Type, s.Data = ci.EventJobFinished, json.RawMessage(data)
		list = append(list, s)
		return err
	}, "SELECT id, build, seq, data FROM events WHERE id > $1 AND type = 'job_finished' ORDER BY id LIMIT $2", after, backfillAtOnce)
	return list, err
}

// RebuildUsage meters the jobs of stored builds that are not metered, and adds up
// the months anew. What was metered stays, that of deleted builds too. added is
// how many jobs were missing.
func (db *DB) RebuildUsage(ctx context.Context) (added int, err error) {
	if added, err = db.backfill(ctx, 0); err == nil {
		err = db.write(ctx, func(t *tx) error {
			if _, err := t.exec("DELETE FROM spending"); err != nil {
				return err
			}
			_, err := t.exec(`INSERT INTO spending (month, project, currency, billed, cost)
				SELECT substr(day, 1, 7), project, currency, SUM(billed), SUM(cost) FROM metered GROUP BY substr(day, 1, 7), project, currency`)
			return err
		})
	}
	if err != nil {
		return added, fmt.Errorf("rebuild usage: %w", err)
	}
	return added, nil
}
