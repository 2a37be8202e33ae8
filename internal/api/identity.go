package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
)

// NewIDToken is the body of a build's request for a signed token.
type NewIDToken struct {
	Audience  string `json:"audience" doc:"who the token is for, such as sts.amazonaws.com"`
	Algorithm string `json:"algorithm,omitempty" doc:"RS256, which is the default, or ES256"`
}

type idTokenAnswer struct {
	CacheControl string `header:"Cache-Control"`
	Body         app.IDToken
}

func (a *API) identity() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "issueIDToken", Method: http.MethodPost, Path: "/projects/{project}/builds/{number}/id-token", Summary: "Get a signed token that says which build has it; for that build, with its SLUICE_TOKEN",
		Description: "An OpenID Connect token, whose issuer is this server: /.well-known/openid-configuration. It is good for ten minutes."},
		func(ctx context.Context, in *struct {
			InBuild
			Body NewIDToken
		}) (*idTokenAnswer, error) {
			t, err := desk.IssueIDToken(ctx, in.Project, in.Number, app.NewIDToken(in.Body))
			return &idTokenAnswer{"no-store", t}, err
		})
	register(a, huma.Operation{OperationID: "rotateIdentityKeys", Method: http.MethodPost, Path: "/identity-keys", Summary: "Make new keys that the identity of builds is signed with; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, _ *struct{}) (*struct{}, error) { return nil, desk.RotateIssuer(ctx) })
	a.public("/.well-known/openid-configuration", desk.Discovery)
	a.public("/.well-known/jwks.json", desk.SigningKeys)
}

// public serves a document that anybody may read, from any page.
func (a *API) public(path string, text func(context.Context) ([]byte, error)) {
	a.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		body, err := text(r.Context())
		if err != nil {
			a.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = w.Write(body)
	})
}
