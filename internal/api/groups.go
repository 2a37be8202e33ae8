package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// OfGroup is a request that names a group.
type OfGroup struct {
	Group string `path:"group" maxLength:"200" doc:"name of the group"`
}

type groupAnswer struct {
	Status int
	ETag   string `header:"ETag"`
	Body   app.GroupInfo
}

func (a *API) groups() {
	desk := a.cfg.App
	const group, member = "/groups/{group}", "/groups/{group}/members/{name}"
	register(a, huma.Operation{OperationID: "listGroups", Method: http.MethodGet, Path: "/groups", Summary: "List the groups of users; for administrators"},
		func(ctx context.Context, _ *struct{}) (*listed[app.GroupInfo], error) {
			items, err := desk.Groups(ctx)
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "getGroup", Method: http.MethodGet, Path: group, Summary: "Show a group and who is in it; for administrators"},
		func(ctx context.Context, in *OfGroup) (*groupAnswer, error) {
			g, err := desk.Group(ctx, in.Group)
			return &groupAnswer{http.StatusOK, etag(g.Revision), g}, err
		})
	register(a, huma.Operation{OperationID: "putGroup", Method: http.MethodPut, Path: group, Summary: "Make a group, or replace one; for administrators",
		Description: "What the body leaves out is empty afterwards. Its name, time and revision are not looked at; If-Match is. Who is in it stays. 201 instead of 200 says that there was no such group."},
		func(ctx context.Context, in *struct {
			OfGroup
			OnlyIf
			Body ci.Group
		}) (*groupAnswer, error) {
			g := in.Body
			var err error
			if g.Revision, err = in.revision(); err != nil {
				return nil, err
			}
			g.Name = in.Group
			put, made, err := desk.PutGroup(ctx, g)
			status := http.StatusOK
			if made {
				status = http.StatusCreated
			}
			return &groupAnswer{status, etag(put.Revision), put}, err
		})
	register(a, huma.Operation{OperationID: "deleteGroup", Method: http.MethodDelete, Path: group, Summary: "Delete a group; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *OfGroup) (*struct{}, error) { return nil, desk.DeleteGroup(ctx, in.Group) })
	type ofMember struct {
		OfGroup
		OfUser
	}
	register(a, huma.Operation{OperationID: "addMember", Method: http.MethodPut, Path: member, Summary: "Put a user into a group; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *ofMember) (*struct{}, error) {
			return nil, desk.SetMember(ctx, in.Group, in.Name, true)
		})
	register(a, huma.Operation{OperationID: "removeMember", Method: http.MethodDelete, Path: member, Summary: "Take a user out of a group; for administrators", DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *ofMember) (*struct{}, error) {
			return nil, desk.SetMember(ctx, in.Group, in.Name, false)
		})
}
