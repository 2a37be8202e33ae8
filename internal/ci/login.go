package ci

import (
	"fmt"
	"time"
)

// Limit is how often something may fail.
type Limit struct {
	What string        // what is counted
	Free int64         // so many failures cost nothing
	Most time.Duration // the longest wait; it is a second after the first failure more, and doubles
}

// Code is something that is good once, until it expires.
type Code struct {
	Hash    string // of what has to be known
	Kind    string
	Owner   string // a user, where there is one
	Expires time.Time
	Data    string
}

// NewPassword is a change of a user's password.
type NewPassword struct {
	User string
	Hash string // of the password
	Keep string // the ID of the session that stays, of the user's
	Code string // the hash of the code that is used up by this; "" = none is
}

// TooMany says no to what was tried too often.
type TooMany struct {
	What  string        // "failed logins"
	After time.Duration // when it may be tried again
}

func (t *TooMany) Error() string {
	return fmt.Sprintf("too many %s; try again in %s", t.What, max(t.After.Round(time.Second), time.Second))
}

// Unwrap makes it an ErrUnavailable.
func (t *TooMany) Unwrap() error { return ErrUnavailable }

// Identity is who somebody is, as an identity provider says.
type Identity struct {
	Issuer  string // of the provider
	Subject string // there; stays the same whatever else changes
	Name    string // what to call the user
	Full    string
	Mail    string // "" = none that was verified
	Groups  []string
}

// Key is what an identity is found again by.
func (i Identity) Key() string { return i.Issuer + " " + i.Subject }
