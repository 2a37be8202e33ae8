package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// typeUpload is the type of sources that users send.
const typeUpload = "upload"

// Uploads keeps the work trees that users send, each under "PROJECT/SHA256":
// source.Uploads.
type Uploads interface {
	Find(ctx context.Context, location string) (ci.Blob, error)
	Take(ctx context.Context, location string, r io.Reader) (ci.Blob, error)
	List(ctx context.Context, f func(location string, b ci.Blob) error) error
	Remove(ctx context.Context, location string) error
}

// Upload is a work tree that was sent: what a build's source is to be, and how
// many bytes it has.
type Upload struct {
	Source ci.Source `json:"source"`
	Size   int64     `json:"size"`
}

// An upload that no build needs stays for a while: somebody may be about to start
// one. What is older than half of that while is sent again rather than built.
const uploadRest = 24 * time.Hour

var errNoUploads = fmt.Errorf("this server takes no uploads: %w", ci.ErrUnavailable)

func uploadAt(project, sum string) (string, error) {
	in := &Invalid{}
	if len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
		in.add("sum", "want the SHA-256 of what is sent, in 64 lower-case hexadecimal digits")
	}
	return project + "/" + sum, in.err()
}

// Upload says whether a work tree is there to be built; ci.ErrNotFound says that
// it must be sent.
func (a *App) Upload(ctx context.Context, project, sum string) (Upload, error) {
	if _, _, err := a.enter(ctx, startBuild, project); err != nil {
		return Upload{}, err
	}
	location, err := uploadAt(project, sum)
	if err != nil {
		return Upload{}, err
	}
	if a.cfg.Uploads == nil {
		return Upload{}, errNoUploads
	}
	b, err := a.cfg.Uploads.Find(ctx, location)
	if err == nil && a.cfg.Now().Sub(b.Time) > uploadRest/2 {
		err = fmt.Errorf("upload %s: it is about to be removed: send it again: %w", location, ci.ErrNotFound)
	}
	return Upload{ci.Source{Type: typeUpload, Location: location}, b.Size}, err
}

// TakeUpload stores a work tree that is sent. Sent again, it is as it was.
func (a *App) TakeUpload(ctx context.Context, project, sum string, r io.Reader) (Upload, error) {
	if _, _, err := a.enter(ctx, startBuild, project); err != nil {
		return Upload{}, err
	}
	location, err := uploadAt(project, sum)
	if err != nil {
		return Upload{}, err
	}
	if a.cfg.Uploads == nil {
		return Upload{}, errNoUploads
	}
	b, err := a.cfg.Uploads.Take(ctx, location, r)
	return Upload{ci.Source{Type: typeUpload, Location: location}, b.Size}, err
}

// checkUpload refuses an upload that a build of the project could not be of.
func (a *App) checkUpload(ctx context.Context, project string, s ci.Source) error {
	in := &Invalid{}
	sum, own := strings.CutPrefix(s.Location, project+"/")
	_, err := uploadAt(project, sum)
	switch {
	case s.Location == "":
		in.add("source.location", "is missing: builds of this project are of work trees that are sent: start one with 'sluice run --remote --project %s'", project)
	case !own || err != nil:
		in.add("source.location", "want %s/SHA256, as the answer to the upload has it", project)
	case a.cfg.Uploads == nil:
		return errNoUploads
	default:
		_, err := a.cfg.Uploads.Find(ctx, s.Location)
		if errors.Is(err, ci.ErrNotFound) {
			in.add("source.location", "%s", ci.Message(err))
		} else if err != nil {
			return err
		}
	}
	return in.err()
}

// TidyUploads removes the uploads that no build needs any more.
func (a *App) TidyUploads(ctx context.Context) error {
	if a.cfg.Uploads == nil {
		return nil
	}
	var old []string
	err := a.cfg.Uploads.List(ctx, func(location string, b ci.Blob) error {
		if a.cfg.Now().Sub(b.Time) > uploadRest {
			old = append(old, location)
		}
		return nil
	})
	for _, location := range old {
		if err != nil {
			break
		}
		var needed bool
		if needed, err = a.cfg.Store.UploadNeeded(ctx, location); err == nil && !needed {
			err = a.cfg.Uploads.Remove(ctx, location)
		}
	}
	if err != nil {
		return fmt.Errorf("remove uploads that no build needs: %w", err)
	}
	return nil
}
