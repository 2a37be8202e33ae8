package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sluice-ci/sluice/internal/app"
)

// InUpload is a request that names an upload.
type InUpload struct {
	InProject
	Sum string `path:"sum" maxLength:"64" doc:"SHA-256 of the upload, in hexadecimal digits"`
}

// ReceivedUpload is a request that sends one. Its body is not read before the
// request is known to be allowed, and never kept in memory.
type ReceivedUpload struct {
	InUpload
	body *body
}

// Resolve is for huma.
func (r *ReceivedUpload) Resolve(hc huma.Context) []error {
	req, w := humago.Unwrap(hc)
	r.body = &body{r: req.Body, w: w, control: http.NewResponseController(w)}
	return nil
}

type uploadAnswer struct {
	Status int
	Body   app.Upload
}

const uploadPath = "/projects/{project}/uploads/{sum}"

// streams says whether the body of a request is read bit by bit by the operation.
func streams(pattern string) bool { return strings.HasSuffix(pattern, uploadPath) }

func (a *API) uploads() {
	desk := a.cfg.App
	register(a, huma.Operation{OperationID: "getUpload", Method: http.MethodGet, Path: uploadPath, Summary: "See whether a work tree need not be sent"},
		func(ctx context.Context, in *InUpload) (*uploadAnswer, error) {
			u, err := desk.Upload(ctx, in.Project, in.Sum)
			return &uploadAnswer{http.StatusOK, u}, err
		})
	register(a, huma.Operation{OperationID: "putUpload", Method: http.MethodPut, Path: uploadPath, Summary: "Send a work tree to be built", DefaultStatus: http.StatusCreated,
		Description: "The body is a tar compressed with zstd, of any length that the server allows. Sent twice, it is there once. " +
			"The answer's source is what a build of it is to be started with. Uploads that no build needs are removed after a day.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{bytesType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}},
		func(ctx context.Context, in *ReceivedUpload) (*uploadAnswer, error) {
			in.body.patience = a.cfg.Patience
			u, err := desk.TakeUpload(ctx, in.Project, in.Sum, in.body)
			if p := in.body.fault; p != nil && err != nil {
				return nil, p
			}
			return &uploadAnswer{http.StatusCreated, u}, err
		})
}

// body is a request's that is read bit by bit, with a time for each bit.
type body struct {
	r        io.Reader
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	fault    *Fault // why it could not be read to its end
}

func (b *body) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.patience)) // where it cannot be, the client's time is not bounded
	n, err := b.r.Read(p)
	var slow net.Error
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{})
		return n, err
	case errors.As(err, &slow) && slow.Timeout():
		b.fault = newProblem(http.StatusRequestTimeout, "the body did not come in time")
	default:
		b.fault = newProblem(http.StatusBadRequest, "the body broke off: "+err.Error())
	}
	b.w.Header().Set("Connection", "close") // nobody waits for the rest of it
	return n, err
}
