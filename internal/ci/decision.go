package ci

import (
	"fmt"
	"time"
)

// Decision is why an event came about: what was looked at, and what it turned out
// to be at that moment. It is stored with the event that it explains.
type Decision struct {
	By         string      `json:"by,omitempty"`         // who wanted it, where somebody did
	Conditions []Condition `json:"conditions,omitempty"` // in the order in which they were looked at
	Waits      []Wait      `json:"waits,omitempty"`      // of what had to wait before
}

// Condition is one thing that was looked at.
type Condition struct {
	What string `json:"what"`          // "job lint ended well"
	Got  string `json:"got,omitempty"` // "failed"
	Met  bool   `json:"met"`
}

// Wait is a time of waiting for one thing.
type Wait struct {
	For     string    `json:"for"`              // memory, processors, runner, turn, order, bigger job
	Detail  string    `json:"detail,omitempty"` // in words, as it was when the waiting began
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
}

// Because gives the event its reason.
func (e Event) Because(d Decision) Event {
	e.Why = &d
	return e
}

// Condf is a condition whose Got is put together.
func Condf(met bool, what, format string, args ...any) Condition {
	return Condition{What: what, Met: met, Got: fmt.Sprintf(format, args...)}
}
