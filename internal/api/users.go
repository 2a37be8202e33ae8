package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// OfUser is a request that names a user.
type OfUser struct {
	Name string `path:"name" maxLength:"200" doc:"name of the user"`
}

type userAnswer struct {
	Status int
	ETag   string `header:"ETag"`
	Body   ci.User
}

func showUser(status int, u ci.User) *userAnswer { return &userAnswer{status, etag(u.Revision), u} }

func (a *API) users() {
	desk := a.cfg.App
	const user = "/users/{name}"
	register(a, huma.Operation{OperationID: "listUsers", Method: http.MethodGet, Path: "/users", Summary: "List the users; for administrators"},
		func(ctx context.Context, _ *struct{}) (*listed[ci.User], error) {
			items, err := desk.Users(ctx)
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "getUser", Method: http.MethodGet, Path: user, Summary: "Show a user; for administrators"},
		func(ctx context.Context, in *OfUser) (*userAnswer, error) {
			u, err := desk.User(ctx, in.Name)
			return showUser(http.StatusOK, u), err
		})
	register(a, huma.Operation{OperationID: "putUser", Method: http.MethodPut, Path: user, Summary: "Make a user, or replace one; for administrators",
		Description: "What the body leaves out is empty afterwards. Its name, time and revision are not looked at; If-Match is. 201 instead of 200 says that there was no such user."},
		func(ctx context.Context, in *struct {
			OfUser
			OnlyIf
			Body ci.User
		}) (*userAnswer, error) {
			u := in.Body
			var err error
			if u.Revision, err = in.revision(); err != nil {
				return nil, err
			}
			u.Name = in.Name
			put, made, err := desk.PutUser(ctx, u)
			status := http.StatusOK
			if made {
				status = http.StatusCreated
			}
			return showUser(status, put), err
		})
	register(a, huma.Operation{OperationID: "deleteUser", Method: http.MethodDelete, Path: user, Summary: "Delete a user and end the user's tokens; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *OfUser) (*struct{}, error) {
			return nil, desk.DeleteUser(ctx, in.Name)
		})
	register(a, huma.Operation{OperationID: "getMe", Method: http.MethodGet, Path: "/me", Summary: "Show who asks, with the rights that the token leaves"},
		func(ctx context.Context, _ *struct{}) (*struct{ Body app.Me }, error) {
			me, err := desk.Me(ctx)
			return &struct{ Body app.Me }{me}, err
		})
}

// NewToken is the body of a request for a token.
type NewToken struct {
	User     string    `json:"user,omitempty" doc:"whose it is; yours when left out; those of others are for administrators to make"`
	Note     string    `json:"note,omitempty" doc:"what it is for"`
	Scopes   []string  `json:"scopes,omitempty" doc:"role:ROLE for no more than that role may, project:NAME for nothing outside that project; none for all that the user may"`
	Expires  time.Time `json:"expires,omitzero" doc:"when it ends; never when left out"`
	Lifetime string    `json:"lifetime,omitempty" doc:"instead of expires: how long it is good, such as 720h"`
}

type tokenAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Body         app.IssuedToken
}

func (a *API) tokens() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "listTokens", Method: http.MethodGet, Path: "/tokens", Summary: "List tokens, without their secrets",
		Description: "A token that has scopes shows those that reach no further than it does."},
		func(ctx context.Context, in *struct {
			User string `query:"user" maxLength:"200" doc:"whose; yours when left out; for administrators those of others, and * for all"`
		}) (*listed[ci.Token], error) {
			items, err := desk.Tokens(ctx, in.User)
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "createToken", Method: http.MethodPost, Path: "/tokens", Summary: "Make a token", DefaultStatus: http.StatusCreated,
		Description: "The answer has the secret, this once. A token reaches no further than the one it was made with, and lives no longer."},
		func(ctx context.Context, in *struct{ Body *NewToken }) (*tokenAnswer, error) {
			var n NewToken
			if in.Body != nil {
				n = *in.Body
			}
			made, err := desk.IssueToken(ctx, app.NewToken(n))
			return &tokenAnswer{"no-store", made}, err
		})
	register(a, huma.Operation{OperationID: "revokeToken", Method: http.MethodDelete, Path: "/tokens/{id}", Summary: "End a token: one's own, or any for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *struct {
			ID string `path:"id" maxLength:"200" doc:"id of the token, which is not its secret"`
		}) (*struct{}, error) {
			return nil, desk.RevokeToken(ctx, in.ID)
		})
}
