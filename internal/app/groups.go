package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// GroupInfo is a group with who is in it.
type GroupInfo struct {
	ci.Group
	Members []string `json:"members,omitempty"`
}

// Groups lists all groups by name, for administrators.
func (a *App) Groups(ctx context.Context) ([]GroupInfo, error) {
	if _, err := manage(ctx, viewGroup); err != nil {
		return nil, err
	}
	groups, err := a.cfg.Store.Groups(ctx)
	if err != nil {
		return nil, err
	}
	users, err := a.cfg.Store.Users(ctx)
	if err != nil {
		return nil, err
	}
	in := map[string][]string{}
	for _, u := range users {
		for _, g := range u.Groups {
			in[g] = append(in[g], u.Name)
		}
	}
	list := make([]GroupInfo, len(groups))
	for i, g := range groups {
		list[i] = GroupInfo{g, in[g.Name]}
	}
	return list, nil
}

// Group shows a group, to administrators.
func (a *App) Group(ctx context.Context, name string) (GroupInfo, error) {
	all, err := a.Groups(ctx)
	if err != nil {
		return GroupInfo{}, err
	}
	i := slices.IndexFunc(all, func(g GroupInfo) bool { return g.Name == name })
	if i < 0 {
		return GroupInfo{}, fmt.Errorf("group %.100q: %w", name, ci.ErrNotFound)
	}
	return all[i], nil
}

// PutGroup makes a group, or replaces one, for administrators. With a Revision it
// must still be the stored one's (Changed). Who is in it stays.
func (a *App) PutGroup(ctx context.Context, put ci.Group) (g GroupInfo, made bool, err error) {
	by, err := manage(ctx, updateGroup)
	if err != nil {
		return GroupInfo{}, false, err
	}
	if err := checkGroup(put); err != nil {
		return GroupInfo{}, false, err
	}
	old, err := a.Group(ctx, put.Name)
	if made = errors.Is(err, ci.ErrNotFound); err != nil && !made {
		return GroupInfo{}, false, err
	}
	v := updateGroup
	if made {
		v = createGroup
	}
	ctx = a.noting(ctx, by, v, "", describeGroup(put))
	stored, err := a.cfg.Store.PutGroup(ctx, put)
	if put.Revision != 0 && (errors.Is(err, ci.ErrConflict) || errors.Is(err, ci.ErrNotFound)) {
		return GroupInfo{}, false, &Changed{err}
	}
	if err != nil {
		return GroupInfo{}, false, err
	}
	return GroupInfo{stored, old.Members}, made, a.changed(ctx, by, v, "", "", describeGroup(stored))
}

// DeleteGroup removes a group, for administrators. Its users lose what it gave.
func (a *App) DeleteGroup(ctx context.Context, name string) error {
	by, err := manage(ctx, deleteGroup)
	if err != nil {
		return err
	}
	old, err := a.Group(ctx, name)
	if err != nil {
		return err
	}
	detail := describeGroup(old.Group) + ", members " + cmp.Or(strings.Join(old.Members, " "), "none")
	ctx = a.noting(ctx, by, deleteGroup, "", detail)
	if err := a.cfg.Store.DeleteGroup(ctx, name); err != nil {
		return err
	}
	return a.changed(ctx, by, deleteGroup, "", "", detail)
}

// SetMember puts a user into a group, or takes the user out, for administrators.
// What is so already stays so.
func (a *App) SetMember(ctx context.Context, group, user string, member bool) error {
	v := addMember
	if !member {
		v = removeMember
	}
	by, err := manage(ctx, v)
	if err != nil {
		return err
	}
	if _, err := a.Group(ctx, group); err != nil {
		return err
	}
	u, err := a.findUser(ctx, user)
	if err != nil {
		return err
	}
	if slices.Contains(u.Groups, group) == member {
		return nil
	}
	detail := fmt.Sprintf("group %q, user %q", group, user)
	ctx = a.noting(ctx, by, v, "", detail)
	_, err = a.cfg.Store.ChangeGroups(ctx, user, func(u *ci.User) {
		if member {
			u.Groups = append(u.Groups, group)
			return
		}
		is := func(name string) bool { return name == group }
		u.Groups, u.Provided = slices.DeleteFunc(u.Groups, is), slices.DeleteFunc(slices.Clone(u.Provided), is)
	})
	if err != nil {
		return err
	}
	return a.changed(ctx, by, v, "", "", detail)
}

// checkGroup says all that is wrong with a group.
func checkGroup(g ci.Group) error {
	in := &Invalid{}
	if !ValidUserName(g.Name) {
		in.add("name", "%.100q cannot be the name of a group: want 1 to %d letters A to Z and a to z, digits, '.', '_', '-' and '@', not beginning with '.' or '-'", g.Name, maxUserName)
	}
	in.line("description", g.Description, maxFullName)
	if g.Role != ci.RoleNone {
		in.role("role", g.Role)
	}
	in.projectRoles(g.Projects)
	return in.err()
}

// describeGroup is a group for the audit.
func describeGroup(g ci.Group) string {
	var b strings.Builder
	fmt.Fprintf(&b, "group %q: role %s", g.Name, cmp.Or(g.Role, "none"))
	for _, p := range slices.Sorted(maps.Keys(g.Projects)) {
		fmt.Fprintf(&b, ", in %s %s", p, g.Projects[p])
	}
	return b.String()
}
