package ci

import (
	"maps"
	"time"
)

// Group gives roles to all users who are in it.
type Group struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Role        Role            `json:"role,omitempty"`     // of the whole server
	Projects    map[string]Role `json:"projects,omitempty"` // of one project, over Role
	Created     time.Time       `json:"created"`
	Revision    int64           `json:"revision"` // grows with each change
}

// In is the user with the roles that groups give beside his own. In the whole
// server the greatest of them counts. In a project the user's own counts if there
// is one, else the greatest that groups give there. Nothing of u is changed.
func (u User) In(groups []Group) User {
	own := u.Projects
	u.Projects = maps.Clone(own)
	for _, g := range groups {
		if g.Role.AtLeast(u.Role) {
			u.Role = g.Role
		}
		for p, r := range g.Projects {
			if _, given := own[p]; given || !r.AtLeast(u.Projects[p]) {
				continue
			}
			if u.Projects == nil {
				u.Projects = map[string]Role{}
			}
			u.Projects[p] = r
		}
	}
	return u
}
