package api

import (
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// buckets let each key do so much in a second, and more at once after a pause.
// They are of this process: a restart fills them, and replicas have their own.
type buckets struct {
	rate, burst float64 // in a second, and at once; a rate of 0 = no limit
	now         func() time.Time

	mu  sync.Mutex
	all map[string]bucket
}

// bucket is how much was left at a time.
type bucket struct {
	left float64
	at   time.Time
}

// manyBuckets is how many are kept before those that are full again are dropped,
// which changes nothing for their keys.
const manyBuckets = 10_000

func newBuckets(rate, burst float64) *buckets {
	return &buckets{rate: rate, burst: burst, now: time.Now, all: map[string]bucket{}}
}

// take takes one from the key's bucket. 0 says that there was one; else it is how
// long it takes until there is.
func (b *buckets) take(key string) (wait time.Duration) {
	if b.rate <= 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	left := b.leftAt(key, now)
	if left < 1 {
		return time.Duration((1 - left) / b.rate * float64(time.Second))
	}
	if len(b.all) >= manyBuckets {
		for k := range b.all {
			if b.leftAt(k, now) >= b.burst {
				delete(b.all, k)
			}
		}
	}
	b.all[key] = bucket{left - 1, now}
	return 0
}

func (b *buckets) leftAt(key string, now time.Time) float64 {
	old, ok := b.all[key]
	if !ok {
		return b.burst
	}
	return min(b.burst, old.left+max(now.Sub(old.at).Seconds(), 0)*b.rate)
}

// Anonymous requests, which need no token or have none that is good, get a part of
// the rate of a token, by address: nobody needs many, and each may cost a hash.
const (
	anonymousPart  = 50
	burstSeconds   = 2
	anonymousBurst = 20
)

// tooMany is the error of a bucket that is empty.
func tooMany(what string, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	return &ci.TooMany{What: what, After: wait}
}

// counts is how many streams each user has open.
type counts struct {
	mu  sync.Mutex
	all map[string]int
}

// enter counts one more, unless there are most already; 0 = any number.
func (c *counts) enter(user string, most int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if most > 0 && c.all[user] >= most {
		return false
	}
	c.all[user]++
	return true
}

func (c *counts) leave(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[user]--; c.all[user] <= 0 {
		delete(c.all, user)
	}
}
