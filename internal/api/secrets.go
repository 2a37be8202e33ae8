package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// OfSecret is a request that names a secret. Names have slashes, so that they
// stand in the query.
type OfSecret struct {
	Name string `query:"name" required:"true" maxLength:"600" doc:"name of the secret"`
}

// NewSecret is the body of a request to keep a secret.
type NewSecret struct {
	Name        string `json:"name" doc:"letters, digits and '/_-.+=@'"`
	Value       string `json:"value" writeOnly:"true" doc:"text, at most 64 KiB; no answer ever has it"`
	Description string `json:"description,omitempty" doc:"what it is; as it was when left out"`
}

// PruneSecret is the body of a request to remove old versions.
type PruneSecret struct {
	Name string `json:"name"`
	Keep int64  `json:"keep" doc:"how many of the newest versions stay, 1 or more"`
}

// Pruned says how many versions were removed.
type Pruned struct {
	Removed int64 `json:"removed"`
}

// GrantSecret is the body of a request to let projects use a global secret.
type GrantSecret struct {
	Name     string   `json:"name"`
	Projects []string `json:"projects" nullable:"false" doc:"which projects may use it, in place of those before; * for all"`
}

// RotateKey is the body of a request for a new master key.
type RotateKey struct {
	Forget bool `json:"forget,omitempty" doc:"drop the old keys; backups made before can then not be read"`
}

type secretAnswer struct{ Body ci.Secret }

type secretShown struct{ Body app.SecretInfo }

type prunedAnswer struct{ Body Pruned }

func (a *API) secrets() {
	a.projectSecrets()
	a.globalSecrets()
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "grantSecret", Method: http.MethodPut, Path: "/secret/projects", Summary: "Say which projects may use a global secret; for administrators"},
		func(ctx context.Context, in *struct{ Body GrantSecret }) (*secretAnswer, error) {
			s, err := desk.GrantSecret(ctx, in.Body.Name, in.Body.Projects)
			return &secretAnswer{s}, err
		})
	register(a, huma.Operation{OperationID: "rotateMasterKey", Method: http.MethodPost, Path: "/secret-key", Summary: "Seal all secrets under a new master key; for administrators"},
		func(ctx context.Context, in *struct{ Body *RotateKey }) (*struct{ Body ci.KeyRotation }, error) {
			done, err := desk.RotateKey(ctx, in.Body != nil && in.Body.Forget)
			return &struct{ Body ci.KeyRotation }{done}, err
		})
}

func (a *API) projectSecrets() {
	desk := a.cfg.App
	const one = "/projects/{project}/secret"
	register(a, huma.Operation{OperationID: "listSecrets", Method: http.MethodGet, Path: one + "s", Summary: "List the secrets that builds of a project may use, without their values"},
		func(ctx context.Context, in *InProject) (*listed[ci.Secret], error) {
			items, err := desk.Secrets(ctx, in.Project)
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "getSecret", Method: http.MethodGet, Path: one, Summary: "Show a secret of a project: its versions, and not their values"},
		func(ctx context.Context, in *struct {
			InProject
			OfSecret
		}) (*secretShown, error) {
			s, err := desk.Secret(ctx, in.Project, in.Name)
			return &secretShown{s}, err
		})
	register(a, huma.Operation{OperationID: "setSecret", Method: http.MethodPut, Path: one, Summary: "Keep a value as the newest version of a secret of a project"},
		func(ctx context.Context, in *struct {
			InProject
			Body NewSecret
		}) (*secretAnswer, error) {
			s, err := desk.SetSecret(ctx, in.Project, app.NewSecret(in.Body))
			return &secretAnswer{s}, err
		})
	register(a, huma.Operation{OperationID: "deleteSecret", Method: http.MethodDelete, Path: one, Summary: "Delete a secret of a project, with all its versions", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *struct {
			InProject
			OfSecret
		}) (*struct{}, error) {
			return nil, desk.DeleteSecret(ctx, in.Project, in.Name)
		})
	register(a, huma.Operation{OperationID: "pruneSecret", Method: http.MethodPost, Path: one + "/prune", Summary: "Remove old versions of a secret of a project"},
		func(ctx context.Context, in *struct {
			InProject
			Body PruneSecret
		}) (*prunedAnswer, error) {
			n, err := desk.PruneSecret(ctx, in.Project, in.Body.Name, in.Body.Keep)
			return &prunedAnswer{Pruned{n}}, err
		})
}

// globalSecrets are those of no project.
func (a *API) globalSecrets() {
	desk := a.cfg.App
	const one = "/secret"
	register(a, huma.Operation{OperationID: "listGlobalSecrets", Method: http.MethodGet, Path: one + "s", Summary: "List the global secrets, without their values; for administrators"},
		func(ctx context.Context, _ *struct{}) (*listed[ci.Secret], error) {
			items, err := desk.Secrets(ctx, "")
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "getGlobalSecret", Method: http.MethodGet, Path: one, Summary: "Show a global secret: its versions, and not their values; for administrators"},
		func(ctx context.Context, in *OfSecret) (*secretShown, error) {
			s, err := desk.Secret(ctx, "", in.Name)
			return &secretShown{s}, err
		})
	register(a, huma.Operation{OperationID: "setGlobalSecret", Method: http.MethodPut, Path: one, Summary: "Keep a value as the newest version of a global secret; for administrators"},
		func(ctx context.Context, in *struct{ Body NewSecret }) (*secretAnswer, error) {
			s, err := desk.SetSecret(ctx, "", app.NewSecret(in.Body))
			return &secretAnswer{s}, err
		})
	register(a, huma.Operation{OperationID: "deleteGlobalSecret", Method: http.MethodDelete, Path: one, Summary: "Delete a global secret, with all its versions; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *OfSecret) (*struct{}, error) {
			return nil, desk.DeleteSecret(ctx, "", in.Name)
		})
	register(a, huma.Operation{OperationID: "pruneGlobalSecret", Method: http.MethodPost, Path: one + "/prune", Summary: "Remove old versions of a global secret; for administrators"},
		func(ctx context.Context, in *struct{ Body PruneSecret }) (*prunedAnswer, error) {
			n, err := desk.PruneSecret(ctx, "", in.Body.Name, in.Body.Keep)
			return &prunedAnswer{Pruned{n}}, err
		})
}
