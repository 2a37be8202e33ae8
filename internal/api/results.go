package api

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sluice-ci/sluice/internal/app"
)

func (a *API) results() {
	desk := a.cfg.App
	const build = "/projects/{project}/builds/{number}"
	register(a, huma.Operation{OperationID: "listArtifacts", Method: http.MethodGet, Path: build + "/artifacts", Summary: "List the artifacts of a build"},
		func(ctx context.Context, in *InBuild) (*listed[app.JobArtifact], error) {
			items, err := desk.Artifacts(ctx, in.Project, in.Number)
			return list(items, ""), err
		})
	register(a, huma.Operation{OperationID: "getArtifact", Method: http.MethodGet, Path: build + "/artifacts/{path}", Summary: "Download an artifact, or a file of one that is a folder",
		Description: "`path` is, with its slashes, as the list of artifacts gives it in `open`; for a file of a folder, with its path put behind.",
		Responses:   produces(bytesType, "The bytes.")},
		func(ctx context.Context, in *struct {
			InBuild
			Path string `path:"path" maxLength:"4096" doc:"path of the artifact"`
		}) (*streamed, error) {
			f, err := desk.OpenArtifact(ctx, in.Project, in.Number, in.Path)
			if err != nil {
				return nil, err
			}
			return &streamed{func(hc huma.Context) { a.serveFile(hc, f) }}, nil
		})
	register(a, huma.Operation{OperationID: "getArchive", Method: http.MethodGet, Path: build + "/archive", Summary: "Download all artifacts of a build as one file",
		Description: "Made as it is sent. The artifacts of each job are in a folder of its name. An archive that breaks off ends without its table of contents.",
		Responses:   produces(bytesType, "The archive.")},
		func(ctx context.Context, in *struct {
			InBuild
			Format string `query:"format" default:"zip" enum:"zip,tar" doc:"of the archive"`
		}) (*streamed, error) {
			all, err := desk.Archive(ctx, in.Project, in.Number, in.Format)
			if err != nil {
				return nil, err
			}
			s := a.stream(bytesType, func(ctx context.Context, w *streamWriter) error { return all.Write(ctx, w) })
			return &streamed{func(hc huma.Context) {
				_, w := humago.Unwrap(hc)
				w.Header().Set("Content-Disposition", disposition(all.Name))
				s.Body(hc)
			}}, nil
		})
	register(a, huma.Operation{OperationID: "listReports", Method: http.MethodGet, Path: build + "/reports", Summary: "List the reports of a build, with their cases"},
		func(ctx context.Context, in *InBuild) (*listed[app.JobReport], error) {
			items, err := desk.Reports(ctx, in.Project, in.Number)
			return list(items, ""), err
		})
}

// serveFile sends a file that a build made. No browser is to take it for a page
// of ours.
func (a *API) serveFile(hc huma.Context, f *app.File) {
	defer f.Close()
	r, w := humago.Unwrap(hc)
	h := w.Header()
	h.Set("Content-Type", bytesType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Content-Disposition", disposition(f.Name))
	if s, ok := f.ReadCloser.(io.Seeker); ok {
		http.ServeContent(w, r, "", f.Time, struct {
			io.Reader
			io.Seeker
		}{f, s})
		return
	}
	h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := io.Copy(w, f); err != nil {
		a.cfg.Log.Error("artifact broke off", "incident", requestID(r.Context()), "artifact", f.Name, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// disposition is the header that has a file saved and not shown.
func disposition(name string) string {
	if text := mime.FormatMediaType("attachment", map[string]string{"filename": name}); text != "" {
		return text
	}
	return "attachment"
}
