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

// manage lets administrators of the whole server pass.
func manage(ctx context.Context, v verb) (ci.User, error) {
	u, err := asking(ctx)
	if err != nil {
		return u, err
	}
	if !can(u.Role, v) {
		return u, refused(u.Role, v, "the server")
	}
	if u.Only != nil {
		return u, fmt.Errorf("the token is for some projects only, and %s is about the whole server: use another token: %w", v, ci.ErrDenied)
	}
	return u, nil
}

// Users lists all users by name, for administrators.
func (a *App) Users(ctx context.Context) ([]ci.User, error) {
	if _, err := manage(ctx, viewUser); err != nil {
		return nil, err
	}
	return a.cfg.Store.Users(ctx)
}

// User shows one user, to administrators.
func (a *App) User(ctx context.Context, name string) (ci.User, error) {
	if _, err := manage(ctx, viewUser); err != nil {
		return ci.User{}, err
	}
	return a.findUser(ctx, name)
}

// findUser reads a user. The store would mend a name that no user can have, and
// find somebody else.
func (a *App) findUser(ctx context.Context, name string) (ci.User, error) {
	if !ValidUserName(name) {
		return ci.User{}, fmt.Errorf("user %.100q: %w", name, ci.ErrNotFound)
	}
	return a.cfg.Store.User(ctx, name)
}

// PutUser makes a user, or replaces one, for administrators. With a Revision it
// must still be the stored one's (Changed). The groups, the password and the
// identity of one who is there stay as they are.
func (a *App) PutUser(ctx context.Context, put ci.User) (u ci.User, made bool, err error) {
	by, err := manage(ctx, updateUser)
	if err != nil {
		return ci.User{}, false, err
	}
	a.people.Lock()
	defer a.people.Unlock()
	for blind := put.Revision == 0; ; {
		old, err := a.findUser(ctx, put.Name)
		if made = errors.Is(err, ci.ErrNotFound); err != nil && !made {
			return ci.User{}, false, err
		}
		if err := checkUser(put, old); err != nil {
			return ci.User{}, false, err
		}
		if !blind && (made || put.Revision != old.Revision) {
			return ci.User{}, false, &Changed{fmt.Errorf("user %q: revision %d was changed meanwhile and is now %d; get it again and repeat the change: %w", put.Name, put.Revision, old.Revision, ci.ErrConflict)}
		}
		if !made && rules(old) && !rules(put) {
			if err := a.notLast(ctx, put.Name); err != nil {
				return ci.User{}, false, err
			}
		}
		u, err = a.replaceUser(ctx, by, put, old)
		if err == nil || !blind || !errors.Is(err, ci.ErrConflict) {
			return u, made, err
		}
		// Somebody was faster; his change is replaced like the one before it.
	}
}

// replaceUser stores a user over what there is of him.
func (a *App) replaceUser(ctx context.Context, by, put, old ci.User) (ci.User, error) {
	put.Groups, put.Provided, put.Identity, put.Revision = old.Groups, old.Provided, old.Identity, old.Revision
	put.Password, put.Only, put.Token, put.From = "", nil, nil, ci.Origin{}
	v := updateUser
	if old.Name == "" {
		v = createUser
	}
	ctx = a.noting(ctx, by, v, "", describe(put))
	u, err := a.cfg.Store.PutUser(ctx, put)
	if err != nil {
		return ci.User{}, err
	}
	return u, a.changed(ctx, by, v, "", "", describe(u))
}

// DeleteUser removes a user and ends the tokens of that user, for administrators.
// What the user started goes on.
func (a *App) DeleteUser(ctx context.Context, name string) error {
	by, err := manage(ctx, deleteUser)
	if err != nil {
		return err
	}
	a.people.Lock()
	defer a.people.Unlock()
	old, err := a.findUser(ctx, name)
	if err != nil {
		return err
	}
	if rules(old) {
		if err := a.notLast(ctx, name); err != nil {
			return err
		}
	}
	ctx = a.noting(ctx, by, deleteUser, "", describe(old))
	if err := a.cfg.Store.DeleteUser(ctx, name); err != nil {
		return err
	}
	return a.changed(ctx, by, deleteUser, "", "", describe(old))
}

// rules says whether the user is an administrator who may come in.
func rules(u ci.User) bool { return u.Role == ci.RoleAdmin && !u.Disabled }

// notLast refuses to lose the one administrator that there is.
func (a *App) notLast(ctx context.Context, name string) error {
	all, err := a.cfg.Store.Users(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(u ci.User) bool { return u.Name != name && rules(u) }) {
		return nil
	}
	return fmt.Errorf("user %q is the last enabled administrator, and can be neither deleted, disabled nor demoted: make another one first: %w", name, ci.ErrConflict)
}

// describe is a user for the audit.
func describe(u ci.User) string {
	var b strings.Builder
	fmt.Fprintf(&b, "user %q: role %s", u.Name, cmp.Or(u.Role, "none"))
	for _, p := range slices.Sorted(maps.Keys(u.Projects)) {
		fmt.Fprintf(&b, ", in %s %s", p, u.Projects[p])
	}
	if len(u.Groups) > 0 {
		b.WriteString(", groups " + strings.Join(u.Groups, " "))
	}
	if u.Disabled {
		b.WriteString(", disabled")
	}
	return b.String()
}

// Limits of what a user may say.
const (
	maxUserName = 64
	maxFullName = 255
	maxMail     = 254
	maxRoles    = 1000
)

// ValidUserName says whether a user can be called that. Not beginning with '-' it
// is no flag, and not with '.' it is no step in a path.
func ValidUserName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '@'
		if !letter && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return name != "" && len(name) <= maxUserName
}

// checkUser says all that is wrong with a user.
func checkUser(u, old ci.User) error {
	in := &Invalid{}
	if !ValidUserName(u.Name) {
		in.add("name", "%.100q cannot be the name of a user: want 1 to %d letters A to Z and a to z, digits, '.', '_', '-' and '@', not beginning with '.' or '-'", u.Name, maxUserName)
	}
	in.line("fullName", u.Full, maxFullName)
	in.line("mail", u.Mail, maxMail)
	if before, after, ok := strings.Cut(u.Mail, "@"); u.Mail != "" && (!ok || before == "" || after == "" || strings.ContainsAny(u.Mail, " \t<>,;")) {
		in.add("mail", "want an address such as ann@example.com, and nothing else")
	}
	if u.Role != ci.RoleNone {
		in.role("role", u.Role)
	}
	in.projectRoles(u.Projects)
	if len(u.Groups) > 0 && !slices.Equal(u.Groups, old.Groups) {
		in.add("groups", "cannot be set here: leave them out, and use 'sluice group add'")
	}
	return in.err()
}

func (i *Invalid) projectRoles(roles map[string]ci.Role) {
	if len(roles) > maxRoles {
		i.add("projects", "%d projects: want at most %d", len(roles), maxRoles)
		return
	}
	for _, p := range slices.Sorted(maps.Keys(roles)) {
		if err := ci.CheckProjectName(p); err != nil {
			i.add("projects", "%s", ci.Message(err))
			continue
		}
		i.role("projects."+p, roles[p])
	}
}

func (i *Invalid) role(path string, r ci.Role) {
	if !r.Known() {
		i.add(path, "%.100q is not a role: want viewer, builder, maintainer or admin", r)
	}
}

// line is text without anything that would break a line or control a terminal.
func (i *Invalid) line(path, s string, most int) {
	i.text(path, s, most)
	if strings.ContainsFunc(s, func(r rune) bool { return r != 0 && r < ' ' || r >= 0x7f && r < 0xa0 }) {
		i.add(path, "want one line, without control characters")
	}
}
