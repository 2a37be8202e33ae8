package ci

import "time"

// AuditEntry says who did what, when and from where. Entries are only added.
type AuditEntry struct {
	ID      int64     `json:"id"` // grows in the order of writing
	Time    time.Time `json:"time"`
	User    string    `json:"user,omitempty"` // "" = nobody who is known, such as one who failed to log in
	Verb    string    `json:"verb"`           // what kind of thing was done: "project.create"
	Project string    `json:"project,omitempty"`
	Build   BuildID   `json:"build,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Address string    `json:"address,omitempty"` // the client's
	Token   string    `json:"token,omitempty"`   // the ID of the token that was used
	Request string    `json:"request,omitempty"` // the ID of the request, as the answer and the server's log have it
}

// Origin is where a request came from.
type Origin struct {
	Address string // of the client
	Request string // the request's ID
}

// Entry begins an entry about what the user does.
func (u User) Entry(verb string) AuditEntry {
	e := AuditEntry{User: u.Name, Verb: verb, Address: u.From.Address, Request: u.From.Request}
	if u.Token != nil {
		e.Token = u.Token.ID
	}
	return e
}
