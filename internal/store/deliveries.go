package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

const selectDeliveries = "SELECT notice, id, target, event, state, attempts, created, due, ended, error FROM deliveries "

func (db *DB) deliveries(ctx context.Context, text string, args ...any) (list []ci.Delivery, err error) {
	err = db.query(ctx, func(r *sql.Rows) error {
		var d ci.Delivery
		var notice sql.RawBytes
		var created, due, ended int64
		if err := r.Scan(&notice, &d.ID, &d.Target, &d.Event, &d.State, &d.Attempts, &created, &due, &ended, &d.Error); err != nil {
			return err
		}
		d.Created, d.Due, d.Ended = moment(created), moment(due), moment(ended)
		list = append(list, d)
		return json.Unmarshal(notice, &list[len(list)-1].Notice)
	}, selectDeliveries+text, args...)
	return list, err
}

// Plan stores, in one transaction, the deliveries that events call for and how
// far they were looked at. When another process has looked further meanwhile that
// is ci.ErrConflict, and nothing is stored. Targets that are gone are left out.
func (db *DB) Plan(ctx context.Context, plans []ci.Planned) error {
	err := db.write(ctx, func(t *tx) error {
		for _, p := range plans {
			var seen int64
			found, err := t.row([]any{&seen}, "SELECT seen FROM targets WHERE id = $1", p.Target)
			switch {
			case err != nil:
				return err
			case !found:
				continue
			case seen != p.From:
				return fmt.Errorf("target %d was brought from event %d to %d by another process: %w", p.Target, p.From, seen, ci.ErrConflict)
			}
			if _, err := t.exec("UPDATE targets SET seen = $1 WHERE id = $2", p.To, p.Target); err != nil {
				return err
			}
			for _, d := range p.Deliveries {
				notice, err := json.Marshal(d.Notice)
				if err != nil {
					return fmt.Errorf("encode: %w", err)
				}
				if _, err := t.exec(`INSERT INTO deliveries (target, event, state, attempts, created, due, ended, error, notice)
					VALUES ($1, $2, 'pending', 0, $3, $4, 0, '', $5) ON CONFLICT (target, event) DO NOTHING`,
					p.Target, d.Event, nanos(d.Created), nanos(d.Due), string(notice)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store deliveries: %w", err)
	}
	return nil
}

// FirstDue says for each target that something is on its way to when the first
// of that is due.
func (db *DB) FirstDue(ctx context.Context) (map[int64]time.Time, error) {
	first := map[int64]time.Time{}
	err := db.query(ctx, func(r *sql.Rows) error {
		var target, due int64
		err := r.Scan(&target, &due)
		first[target] = moment(due)
		return err
	}, "SELECT target, MIN(due) FROM deliveries WHERE state = 'pending' GROUP BY target")
	if err != nil {
		return nil, fmt.Errorf("read what is due: %w", err)
	}
	return first, nil
}

// Due reads deliveries to a target that are due at a time, those longest due first.
func (db *DB) Due(ctx context.Context, target int64, now time.Time, limit int) ([]ci.Delivery, error) {
	list, err := db.deliveries(ctx, "WHERE target = $1 AND state = 'pending' AND due <= $2 ORDER BY due, id LIMIT $3", target, nanos(now), limit)
	if err != nil {
		return nil, fmt.Errorf("read what is due: %w", err)
	}
	return list, nil
}

// SaveDelivery stores what came of an attempt. One that is not pending any more,
// or gone, stays as it is.
func (db *DB) SaveDelivery(ctx context.Context, d ci.Delivery) error {
	err := db.write(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE deliveries SET state = $1, attempts = $2, due = $3, ended = $4, error = $5 WHERE id = $6 AND state = 'pending'",
			string(d.State), int64(d.Attempts), nanos(d.Due), nanos(d.Ended), plain(d.Error), d.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("store delivery %d: %w", d.ID, err)
	}
	return nil
}

// GiveUp ends the deliveries to a target that are pending since before a time.
func (db *DB) GiveUp(ctx context.Context, target int64, before, now time.Time, why string) error {
	err := db.write(ctx, func(t *tx) error {
		old, err := t.row([]any{new(int64)}, "SELECT id FROM deliveries WHERE target = $1 AND state = 'pending' AND created < $2 LIMIT 1", target, nanos(before))
		if err != nil || !old {
			return err
		}
		_, err = t.exec("UPDATE deliveries SET state = 'dead', due = 0, ended = $1, error = $2 WHERE target = $3 AND state = 'pending' AND created < $4",
			nanos(now), plain(why), target, nanos(before))
		return err
	})
	if err != nil {
		return fmt.Errorf("give deliveries up: %w", err)
	}
	return nil
}

// Deliveries lists those to a target, the newest first, of one state or ("") of
// all. after and next are as for Projects.
func (db *DB) Deliveries(ctx context.Context, target int64, state ci.DeliveryState, after string, limit int) (page []ci.Delivery, next string, err error) {
	limit, err = pageSize(limit)
	before := int64(1<<63 - 1)
	if err == nil && after != "" {
		if before, err = strconv.ParseInt(after, 10, 64); err != nil {
			err = fmt.Errorf("%q is not where a page of deliveries ended; begin again without it: %w", after, ci.ErrInvalid)
		}
	}
	if err == nil {
		text, args := "WHERE target = $1 AND id < $2 ORDER BY id DESC LIMIT $3", []any{target, before, limit + 1}
		if state != "" {
			text, args = "WHERE target = $1 AND id < $2 AND state = $4 ORDER BY id DESC LIMIT $3", append(args, string(state))
		}
		page, err = db.deliveries(ctx, text, args...)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", err)
	}
	if len(page) > limit {
		page = page[:limit]
		next = strconv.FormatInt(page[limit-1].ID, 10)
	}
	return page, next, nil
}

// Redeliver has a delivery of a target sent again that was delivered or given up;
// with 0 all that were given up. It says how many; a number that is not there is
// ci.ErrNotFound.
func (db *DB) Redeliver(ctx context.Context, target, id int64) (n int64, err error) {
	now := nanos(db.opt.Now())
	err = db.write(ctx, func(t *tx) (err error) {
		const set = "UPDATE deliveries SET state = 'pending', attempts = 0, created = $1, due = $1, ended = 0 WHERE target = $2 AND "
		if id == 0 {
			n, err = t.exec(set+"state = 'dead'", now, target)
			return err
		}
		n, err = t.exec(set+"id = $3", now, target, id)
		if err == nil && n == 0 {
			err = ci.ErrNotFound
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("delivery %d: %w", id, err)
	}
	return n, nil
}

// DeliveryCounts says how many deliveries are pending and dead.
func (db *DB) DeliveryCounts(ctx context.Context) (map[ci.DeliveryState]int64, error) {
	counts := map[ci.DeliveryState]int64{}
	err := db.query(ctx, func(r *sql.Rows) error {
		var state ci.DeliveryState
		var n int64
		err := r.Scan(&state, &n)
		counts[state] = n
		return err
	}, "SELECT state, COUNT(*) FROM deliveries WHERE state IN ('pending', 'dead') GROUP BY state")
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	return counts, nil
}

// PruneDeliveries forgets those delivered before a time, and those given up
// before another.
func (db *DB) PruneDeliveries(ctx context.Context, delivered, dead time.Time) error {
	err := db.write(ctx, func(t *tx) error {
		for state, before := range map[ci.DeliveryState]time.Time{ci.DeliveryDelivered: delivered, ci.DeliveryDead: dead} {
			if _, err := t.exec("DELETE FROM deliveries WHERE state = $1 AND state <> 'pending' AND ended < $2", string(state), nanos(before)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget old deliveries: %w", err)
	}
	return nil
}
