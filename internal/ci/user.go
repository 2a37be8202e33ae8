package ci

import "time"

// Role is what somebody may do. Each may do what those before it may.
type Role string

// The roles, of the whole server or of one project.
const (
	RoleNone       Role = ""
	RoleViewer     Role = "viewer"     // look at builds
	RoleBuilder    Role = "builder"    // start and stop them
	RoleMaintainer Role = "maintainer" // change projects
	RoleAdmin      Role = "admin"      // everything
)

// User is somebody who has access.
type User struct {
	Name     string          `json:"name"`
	Full     string          `json:"fullName,omitempty"`
	Mail     string          `json:"mail,omitempty"`
	Role     Role            `json:"role,omitempty"`     // of the whole server
	Projects map[string]Role `json:"projects,omitempty"` // of one project, over Role
	Groups   []string        `json:"groups,omitempty"`
	Provided []string        `json:"providedGroups,omitempty"` // those of Groups that the identity provider said
	Identity string          `json:"identity,omitempty"`       // at the identity provider: issuer and subject; "" = none
	Disabled bool            `json:"disabled,omitempty"`
	Password string          `json:"-"` // as the package for access hashes it; "" = cannot log in by one
	Created  time.Time       `json:"created"`
	Revision int64           `json:"revision"` // grows with each change

	// Only, of a request and never stored, lists the projects that the token it
	// came with is good for; nil = all.
	Only []string `json:"-"`
	// Token, of a request and never stored, is what it came with, without the
	// hash; nil = no token.
	Token *Token `json:"-"`
	// Build, of a request and never stored, is the build whose token it came with.
	Build BuildID `json:"-"`
	// From, of a request and never stored, is where it came from.
	From Origin `json:"-"`
}

// Token lets a program act for a user. What it consists of is not kept, only its hash.
type Token struct {
	ID       string    `json:"id"`
	User     string    `json:"user"`
	Note     string    `json:"note,omitempty"` // what it is for
	Hash     string    `json:"-"`
	Scopes   []string  `json:"scopes,omitempty"` // none = all that the user may
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`  // zero = never
	LastUsed time.Time `json:"lastUsed,omitzero"` // zero = never
	Session  bool      `json:"session,omitempty"` // made by logging in, and ends by logging out
}
