package ci

import "context"

type userKey struct{}

// WithUser says on whose behalf what is done with the context is done.
func WithUser(ctx context.Context, u User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserFrom is the user of WithUser; false when nobody said who asks.
func UserFrom(ctx context.Context) (User, bool) {
	u, ok := ctx.Value(userKey{}).(User)
	return u, ok
}

// rank orders the roles; what is not a role ranks below all.
func (r Role) rank() int {
	switch r {
	case RoleViewer:
		return 1
	case RoleBuilder:
		return 2
	case RoleMaintainer:
		return 3
	case RoleAdmin:
		return 4
	}
	return 0
}

// AtLeast says whether r may do what least may.
func (r Role) AtLeast(least Role) bool { return r.rank() >= least.rank() }

// Known says whether r is one of the roles.
func (r Role) Known() bool { return r.rank() > 0 }

// Roles lists the roles, the least first.
func Roles() []Role { return []Role{RoleViewer, RoleBuilder, RoleMaintainer, RoleAdmin} }
