package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// open says whether a place below Prefix is for those who are not logged in, too.
func open(r *http.Request) bool {
	switch r.URL.Path {
	case Prefix + "/openapi.json":
		return true
	case Prefix + "/login":
		return r.Method == http.MethodPost || r.Method == http.MethodGet
	case Prefix + "/login/code":
		return r.Method == http.MethodPost
	}
	return false
}

// NewLogin is the body of a request for a session.
type NewLogin struct {
	User     string `json:"user" maxLength:"1000" doc:"name of the user"`
	Password string `json:"password" maxLength:"10000"`
	Note     string `json:"note,omitempty" doc:"what the session is for"`
}

// NewPassword is the body of a change of a password.
type NewPassword struct {
	Password string `json:"password" maxLength:"10000" doc:"the new one"`
	Current  string `json:"current,omitempty" maxLength:"10000" doc:"the current one, for one's own"`
}

type originKey struct{}

// originOf is where the request came from, for operations without a user.
func originOf(ctx context.Context) ci.Origin {
	o, _ := ctx.Value(originKey{}).(ci.Origin)
	return o
}

func (a *API) logins() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "login", Method: http.MethodPost, Path: "/login", Summary: "Log in with a password", DefaultStatus: http.StatusCreated,
		Description: "The answer is a session, with its secret, this once: send it as a token. It ends at its time, by DELETE, and when the password changes. " +
			"429 says that there were too many failures, and Retry-After when to try again.", Security: []map[string][]string{}},
		func(ctx context.Context, in *struct{ Body NewLogin }) (*tokenAnswer, error) {
			made, err := desk.Login(ctx, originOf(ctx), app.NewLogin(in.Body))
			if errors.Is(err, ci.ErrDenied) {
				p := newProblem(http.StatusUnauthorized, "the user or the password is wrong")
				p.Help = "look at both again, or ask an administrator for a new password"
				err = p
			}
			return &tokenAnswer{"no-store", made}, err
		})
	register(a, huma.Operation{OperationID: "logout", Method: http.MethodDelete, Path: "/login", Summary: "End the session that asks", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, _ *struct{}) (*struct{}, error) { return nil, desk.Logout(ctx) })
	register(a, huma.Operation{OperationID: "setPassword", Method: http.MethodPut, Path: "/users/{name}/password", Summary: "Set a password: one's own, or any for administrators", DefaultStatus: http.StatusNoContent,
		Description: "The user's sessions end, but for the one that asks."},
		func(ctx context.Context, in *struct {
			OfUser
			Body NewPassword
		}) (*struct{}, error) {
			return nil, desk.SetPassword(ctx, in.Name, in.Body.Password, in.Body.Current)
		})
}
