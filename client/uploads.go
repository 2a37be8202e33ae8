package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Upload is a work tree that the server has: what a build of it is to be started
// with, and its bytes.
type Upload struct {
	Source Source `json:"source"`
	Size   int64  `json:"size"`
}

// Upload sends a work tree to be built in a project, unless the server has it:
// size bytes of a tar compressed with zstd, and their SHA-256 in hexadecimal
// digits. sent is false when nothing had to be. A connection that breaks is
// tried again, and the whole is there once or not at all.
func (c *Client) Upload(ctx context.Context, project, sum string, size int64, from io.ReaderAt) (u Upload, sent bool, err error) {
	path := at("projects", project, "uploads", sum)
	for failed := 0; ; {
		u, err = get[Upload](ctx, c, path, nil)
		if err == nil {
			return u, failed > 0, nil
		}
		if missing := IsNotFound(err); missing {
			if err = c.sendUpload(ctx, path, size, from, &u); err == nil {
				return u, true, nil
			}
		}
		if final(ctx, err) {
			return u, false, err
		}
		if failed++; failed >= c.retry.Attempts {
			return u, false, fmt.Errorf("%d attempts to send the work tree failed: %w", failed, err)
		}
		if err := c.pause(ctx, failed); err != nil {
			return u, false, err
		}
	}
}

func (c *Client) sendUpload(ctx context.Context, path string, size int64, from io.ReaderAt, u *Upload) error {
	_, err := c.call(ctx, request{
		method: http.MethodPut, path: path, stream: io.NewSectionReader(from, 0, size), size: size,
		// A server that says no says it before the whole was sent.
		header: http.Header{"Expect": {"100-continue"}, "Content-Type": {"application/octet-stream"}},
	}, u)
	return err
}
