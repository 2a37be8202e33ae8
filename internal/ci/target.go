package ci

import "time"

// TargetKind is how a target is spoken to.
type TargetKind string

// The kinds of targets.
const (
	TargetWebhook    TargetKind = "webhook" // CloudEvents, signed
	TargetMail       TargetKind = "mail"
	TargetSlack      TargetKind = "slack"
	TargetTeams      TargetKind = "teams"
	TargetDiscord    TargetKind = "discord"
	TargetMattermost TargetKind = "mattermost"
)

// TargetKinds lists the kinds there are.
func TargetKinds() []TargetKind {
	return []TargetKind{TargetWebhook, TargetMail, TargetSlack, TargetTeams, TargetDiscord, TargetMattermost}
}

// Chat says whether the address of a target of this kind is its password: who
// knows it may write into the channel.
func (k TargetKind) Chat() bool {
	switch k {
	case TargetSlack, TargetTeams, TargetDiscord, TargetMattermost:
		return true
	}
	return false
}

// Target is where notices go of what happens to builds: a program, a mailbox, a
// channel. Which of them is for its filter to say.
type Target struct {
	Name    string     `json:"name"`
	Project string     `json:"project,omitempty"` // whose builds; "" = those of all projects
	Kind    TargetKind `json:"kind"`
	URL     string     `json:"url,omitempty"` // of a webhook; of a chat no more than its host is shown
	Mail    *MailRoute `json:"mail,omitempty"`

	Events   []EventType `json:"events,omitempty"`   // none = build_finished
	Projects []string    `json:"projects,omitempty"` // names, with * and ?; none = all
	Statuses []Status    `json:"statuses,omitempty"` // of the build, job or step; none = all
	Branches []string    `json:"branches,omitempty"` // names, with * and ?; none = all
	// Changed lets only those build_finished through that end otherwise than the
	// build before on the same branch did.
	Changed  bool `json:"changed,omitempty"`
	Disabled bool `json:"disabled,omitempty"` // what happens meanwhile is not told later

	HasSecret bool      `json:"hasSecret,omitempty"` // a key, a password or an address is kept, sealed
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`

	ID     int64  `json:"-"` // the store's
	Seen   int64  `json:"-"` // cursor of the last event that was looked at
	Sealed string `json:"-"` // the secret, as it is stored
}

// SecretName is the name under which the secret of a target is sealed, so that
// one cannot be put in the place of another.
func (t Target) SecretName() string { return "target " + t.Project + "/" + t.Name }

// MailRoute says how mail gets to its readers.
type MailRoute struct {
	Server string   `json:"server"`         // HOST:PORT
	TLS    string   `json:"tls,omitempty"`  // "" = starttls; starttls, tls (from the first byte), none
	User   string   `json:"user,omitempty"` // "" = does not log in; the secret is the password
	From   string   `json:"from"`
	To     []string `json:"to"`
}

// How a finished build differs from the one before on the same branch.
const (
	ChangeFixed  = "fixed"  // it succeeded, that one had not
	ChangeBroken = "broken" // it did not, that one had, or there was none
)

// Notice is what a target is told: something that happened, with as much of the
// build as one needs to know whether to look.
type Notice struct {
	Event     EventType `json:"event"`
	Project   string    `json:"project"`
	Number    int64     `json:"number"`
	Build     BuildID   `json:"build"`
	Seq       int64     `json:"seq"` // of the event in its build
	Job       JobID     `json:"job,omitempty"`
	Step      StepID    `json:"step,omitempty"`
	Status    Status    `json:"status"` // of the build, job or step that the event is about
	Change    string    `json:"change,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Ref       string    `json:"ref,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Subject   string    `json:"subject,omitempty"` // of the commit
	Author    string    `json:"author,omitempty"`
	Initiator string    `json:"initiator,omitempty"`
	Queued    time.Time `json:"queued,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	URL       string    `json:"url"`
	Time      time.Time `json:"time"` // when it happened
	Test      bool      `json:"test,omitempty"`
}

// DeliveryStates lists the states there are.
func DeliveryStates() []DeliveryState {
	return []DeliveryState{DeliveryPending, DeliveryDelivered, DeliveryDead}
}

// StoredEvents lists the types of events that are stored, in the order of a build's life.
func StoredEvents() []EventType {
	return []EventType{
		EventBuildQueued, EventBuildStarted, EventJobQueued, EventJobStarted, EventStepStarted, EventStepFinished,
		EventJobFinished, EventBuildFinished, EventCancel,
	}
}

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryPending   DeliveryState = "pending" // to be sent, or sent again
	DeliveryDelivered DeliveryState = "delivered"
	DeliveryDead      DeliveryState = "dead" // given up; may be sent again by hand
)

// Delivery is one notice on its way to one target.
type Delivery struct {
	ID       int64         `json:"id"`
	State    DeliveryState `json:"state"`
	Attempts int           `json:"attempts"`
	Error    string        `json:"error,omitempty"` // of the last attempt
	Created  time.Time     `json:"created"`
	Due      time.Time     `json:"due,omitzero"`   // of the next attempt
	Ended    time.Time     `json:"ended,omitzero"` // delivered or given up
	Notice   Notice        `json:"notice"`

	Target int64 `json:"-"` // the store's ID of it
	Event  int64 `json:"-"` // cursor of the event
}

// Planned is what came of looking at events for one target: the deliveries that
// they call for, and how far it looked.
type Planned struct {
	Target     int64
	From, To   int64 // cursors: where it began and where it ended
	Deliveries []Delivery
}

// Stamped is an event and its place among those of all builds.
type Stamped struct {
	Event
	Cursor int64 `json:"cursor"`
}
