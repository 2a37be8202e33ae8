package app

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/identity"
	"github.com/sluice-ci/sluice/internal/logs"
	"github.com/sluice-ci/sluice/internal/store"
)

// Config is what the front desk works with. Engine, Store, Logs, Output
// and Tokens are needed; the rest has a use for its zero value.
type Config struct {
	Engine *engine.Engine
	Store  *store.DB
	Logs   *logs.Store
	Tokens Tokens
	Node   string                // this server's name among those that share the store; "" = there is none
	Blobs  ci.Blobs              // of artifacts that have a key; nil = none have
	Output func(ci.JobID) string // the directory that the runner was given for the job
	// Discard removes what of a deleted build, or of a part of one (ci.PartLogs, …),
	// lies outside the store. It may be asked again for what is gone.
	Discard   func(ctx context.Context, id ci.BuildID, part string) error
	Retention ci.Retention // of projects that say nothing
	// Secrets seals what the server keeps; nil = it keeps none.
	Secrets Secrets
	// Identity gives builds tokens; nil = they get none.
	Identity *identity.Issuer
	// Further are the sources of secrets beside its own, by the names of ci.SecretSources.
	Further map[string]ci.SecretSource
	// Audit writes down what somebody did; nil = into Store.
	Audit func(context.Context, ci.AuditEntry) error
	Now   func() time.Time // nil = time.Now
	// Currency is that of prices; "" = nothing is priced.
	Currency string
	// SessionLife is how long somebody who logs in stays so; 0 = 7 days.
	SessionLife time.Duration
	// Uploads keeps work trees that users send; nil = none are taken.
	Uploads Uploads
	// Seal seals the secret of a target, or of a build, under a name; Try makes one attempt to
	// send a notice to a target. nil = there are no targets.
	Seal func(ctx context.Context, name, value string) (string, error)
	Try  func(context.Context, ci.Target, ci.Notice) error
	// SSO is how people log in at an identity provider; nil = they cannot.
	SSO *SSO
}

// Tokens makes tokens and knows what their scopes mean: auth.Auth.
type Tokens interface {
	Logins
	// Issue makes a token for k.User with the note, scopes and expiry of k.
	Issue(ctx context.Context, k ci.Token) (secret string, made ci.Token, err error)
	// CheckScopes refuses scopes that mean nothing.
	CheckScopes(scopes []string) error
	// Within says whether a token with the scopes lets nothing through that one
	// with the scopes of would not.
	Within(scopes, of []string) bool
}

// App is the front desk. Its methods are safe from several goroutines. Each
// takes the user from the context and answers with the sentinels of ci;
// ci.ErrInvalid comes as Invalid where fields can be named.
type App struct {
	cfg    Config
	people sync.Mutex // held while users change: somebody must stay an administrator
}

// New makes the front desk.
func New(c Config) *App {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SessionLife == 0 {
		c.SessionLife = 7 * 24 * time.Hour
	}
	if c.Discard == nil {
		c.Discard = func(context.Context, ci.BuildID, string) error { return nil }
	}
	return &App{cfg: c}
}

// Ready says whether requests can be served: an error says why not.
func (a *App) Ready(ctx context.Context) error {
	_, _, err := a.cfg.Store.Projects(ctx, "", "", 1)
	return err
}

// verb is a kind of operation.
type verb string

// The verbs, as they stand in the audit.
const (
	viewProject   verb = "project.view"
	createProject verb = "project.create"
	updateProject verb = "project.update"
	deleteProject verb = "project.delete"
	viewBuild     verb = "build.view"
	startBuild    verb = "build.start"
	stopBuild     verb = "build.stop"
	retryBuild    verb = "build.retry"
	deleteBuild   verb = "build.delete"
	sweepBuilds   verb = "build.expire" // what retention no longer keeps
	viewUser      verb = "user.view"
	createUser    verb = "user.create"
	updateUser    verb = "user.update"
	deleteUser    verb = "user.delete"
	viewToken     verb = "token.view" // these three of others; one's own are everybody's
	createToken   verb = "token.create"
	revokeToken   verb = "token.revoke"
	setPassword   verb = "user.password" // of others
	logIn         verb = "login"
	failLogin     verb = "login.fail"
	endSession    verb = "logout"
	viewAudit     verb = "audit.view"
	viewGroup     verb = "group.view"
	createGroup   verb = "group.create"
	updateGroup   verb = "group.update"
	deleteGroup   verb = "group.delete"
	addMember     verb = "group.add"
	removeMember  verb = "group.remove"
	viewUsage     verb = "usage.view"
	rebuildUsage  verb = "usage.rebuild"
	viewBudget    verb = "budget.view"
	setBudget     verb = "budget.set"
	deleteBudget  verb = "budget.delete"
	changeTarget  verb = "target.change"        // of a project
	serverTarget  verb = "target.change-server" // of all projects
	issueIdentity verb = "identity.issue"       // what builds do
	rotateIssuer  verb = "identity.rotate-keys"
	viewSecret    verb = "secret.view"
	setSecret     verb = "secret.set"
	deleteSecret  verb = "secret.delete"
	grantSecret   verb = "secret.grant"
	useSecret     verb = "secret.use" // what builds do
	rotateKey     verb = "secret.rotate-key"
)

// least is the table of permissions: the role from which on a verb is allowed.
func least(v verb) ci.Role {
	switch v {
	case viewProject, viewBuild, viewUsage, viewBudget:
		return ci.RoleViewer
	case startBuild, stopBuild, retryBuild, viewSecret:
		return ci.RoleBuilder
	case createProject, updateProject, deleteProject, deleteBuild, changeTarget, setSecret, deleteSecret:
		return ci.RoleMaintainer
	}
	return ci.RoleAdmin
}

// can says whether a role may do what the verb says.
func can(r ci.Role, v verb) bool { return r.Known() && r.AtLeast(least(v)) }

// roleIn is the role that the user has in a project: the one given to him there,
// else, unless the project is private, that of the whole server. Admins of the
// server are admins everywhere.
func roleIn(u ci.User, p ci.Project) ci.Role {
	if u.Only != nil && !slices.Contains(u.Only, p.Name) {
		return ci.RoleNone
	}
	own, given := u.Projects[p.Name]
	switch {
	case u.Role == ci.RoleAdmin:
		return u.Role
	case given:
		return own
	case p.Private:
		return ci.RoleNone
	}
	return u.Role
}

func asking(ctx context.Context) (ci.User, error) {
	u, ok := ci.UserFrom(ctx)
	if !ok {
		return u, fmt.Errorf("nobody is logged in: give a token: %w", ci.ErrDenied)
	}
	return u, nil
}

// enter finds a project for what the verb says. A project that the user may not
// see is not found, in the same words as one that is not there.
func (a *App) enter(ctx context.Context, v verb, name string) (ci.Project, ci.User, error) {
	u, err := asking(ctx)
	if err != nil {
		return ci.Project{}, u, err
	}
	p, err := a.cfg.Store.Project(ctx, name)
	if err != nil {
		return ci.Project{}, u, err
	}
	role := roleIn(u, p)
	if !can(role, viewProject) {
		return ci.Project{}, u, fmt.Errorf("project %q: %w", name, ci.ErrNotFound)
	}
	if !can(role, v) {
		return ci.Project{}, u, refused(role, v, fmt.Sprintf("project %q", name))
	}
	return p, u, nil
}

func refused(have ci.Role, v verb, where string) error {
	if have == ci.RoleNone {
		return fmt.Errorf("%s: %s takes the role %s, and you have none; ask an administrator for it: %w", where, v, least(v), ci.ErrDenied)
	}
	return fmt.Errorf("%s: %s takes the role %s, and yours is %s; ask an administrator for it: %w", where, v, least(v), have, ci.ErrDenied)
}

// openDoors refuses what lets builds out of their sandbox, or lets them see what
// the server sees, unless an administrator asks or the project had it before.
func openDoors(u ci.User, before, after ci.Project) error {
	if u.Role == ci.RoleAdmin {
		return nil
	}
	var what string
	switch was, is := before.Runtime, after.Runtime; {
	case after.Source.Type == "directory" && before.Source != after.Source:
		what = "builds of a directory on the server"
	case is.Isolation == "none" && was.Isolation != "none":
		what = "builds without isolation"
	case is.Privileged && !was.Privileged:
		what = "privileged builds"
	case len(added(before.Secrets, after.Secrets)) > 0:
		what = "builds to use the secrets of the source " + added(before.Secrets, after.Secrets)[0]
	default:
		return nil
	}
	return fmt.Errorf("project %q: only an administrator of the server may allow %s: %w", after.Name, what, ci.ErrDenied)
}
