package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Open reads a blob from a byte on. Read from the start it is one request, and the
// reader keeps the same bytes when the blob is replaced or deleted meanwhile. Each
// block is verified before any byte of it is handed out, and a read from 0 to the
// end verifies the SHA-256 too. A connection that breaks is made anew.
func (s *S3) Open(ctx context.Context, key string, from int64) (io.ReadCloser, ci.Blob, error) {
	name, err := s.object(key)
	if err != nil {
		return nil, ci.Blob{}, err
	}
	st := &stream{s: s, ctx: ctx, key: key, name: name}
	h, err := st.begin(from)
	if err == nil && (from < 0 || from > h.size) {
		err = fmt.Errorf("offset %d is not within its %d bytes: %w", from, h.size, ci.ErrInvalid)
	}
	if err != nil {
		_ = st.Close()
		if missing(err) {
			return nil, ci.Blob{}, fmt.Errorf("blob %s: %w", key, ci.ErrNotFound)
		}
		return nil, ci.Blob{}, fmt.Errorf("open blob %s: %w", key, s.explain(err))
	}
	return newVerified(key, st, h, from), h.blob(key), nil
}

// headBlock is how much of an object is asked for where only its header and its
// checksums are wanted: those of 1 GiB fit.
const headBlock = headerSize + sumSize*(1<<30/blockSize)

// stream reads an object, in one request where that goes on from the last byte read.
type stream struct {
	s    *S3
	ctx  context.Context //nolint:containedctx // of the reader, as a request's
	key  string
	name string
	h    header

	body io.ReadCloser
	at   int64  // byte of the object that body gives next
	etag string // of the version that is read
	size int64  // of the object
}

// begin reads the header.
func (st *stream) begin(from int64) (header, error) {
	options := minio.GetObjectOptions{}
	if from > 0 {
		options.Set("Range", fmt.Sprintf("bytes=0-%d", headBlock-1))
	}
	body, info, head, err := st.s.core.GetObject(st.ctx, st.s.at.Bucket, st.name, options)
	if err != nil {
		if minio.ToErrorResponse(err).Code == minio.InvalidRange {
			return header{}, fmt.Errorf("the object is empty: %w", ci.ErrInvalid)
		}
		return header{}, err
	}
	st.body, st.etag, st.size = body, info.ETag, info.Size
	var first, last int64
	if _, err := fmt.Sscanf(head.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &st.size); from > 0 && err != nil {
		return header{}, fmt.Errorf("the store does not understand ranges: %w", ci.ErrUnavailable)
	}
	if st.size < headerSize {
		return header{}, fmt.Errorf("the object is cut after %d bytes: %w", st.size, ci.ErrInvalid)
	}
	b := make([]byte, headerSize)
	if err := st.read(b, 0); err != nil {
		return header{}, err
	}
	h, err := parseHeader(b, objectMagic)
	if err != nil {
		return header{}, err
	}
	if st.size != h.fileSize() {
		return header{}, fmt.Errorf("its object has %d bytes, not %d: %w", st.size, h.fileSize(), ci.ErrInvalid)
	}
	st.h = h
	return h, nil
}

func (st *stream) table(p []byte) error { return st.read(p, headerSize) }

func (st *stream) data(p []byte, at int64) error {
	return st.read(p, headerSize+st.h.blocks()*sumSize+at)
}

// patience is how often in a row a connection may break without a byte of progress.
const patience = 5

// read fills p from a byte of the object on.
func (st *stream) read(p []byte, at int64) error {
	if at+int64(len(p)) > st.size {
		return io.EOF
	}
	for fails := 0; len(p) > 0; {
		err := st.seek(at, fails)
		if err == nil {
			var n int
			n, err = io.ReadFull(st.body, p)
			p, at, st.at = p[n:], at+int64(n), st.at+int64(n)
			if n > 0 {
				fails = 0
			}
		}
		if err == nil {
			continue
		}
		_ = st.Close()
		st.body = nil
		if fails++; st.ctx.Err() != nil {
			return context.Cause(st.ctx)
		}
		var answered minio.ErrorResponse
		if errors.As(err, &answered) {
			if missing(err) || answered.Code == minio.PreconditionFailed {
				return fmt.Errorf("it was replaced or deleted while it was read; read it again: %w", ci.ErrUnavailable)
			}
			return st.s.explain(err) // the client has tried often enough
		}
		if fails > patience {
			return st.s.explain(err)
		}
	}
	return nil
}

// seek makes the body give the byte at next. Each attempt after the first waits
// longer than the one before.
func (st *stream) seek(at int64, fails int) error {
	if st.body != nil && st.at == at {
		return nil
	}
	if st.body != nil {
		_ = st.Close()
	}
	if fails > 1 {
		wait := time.NewTimer(50 * time.Millisecond << fails)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-st.ctx.Done():
			return context.Cause(st.ctx)
		}
	}
	options := minio.GetObjectOptions{}
	options.Set("Range", fmt.Sprintf("bytes=%d-", at))
	if err := options.SetMatchETag(st.etag); err != nil {
		return err
	}
	body, _, _, err := st.s.core.GetObject(st.ctx, st.s.at.Bucket, st.name, options)
	st.body, st.at = body, at
	if err != nil {
		st.body = nil
	}
	return err
}

func (st *stream) Close() error {
	if st.body == nil {
		return nil
	}
	err := st.body.Close()
	st.body = nil
	return err
}

func missing(err error) bool { return minio.ToErrorResponse(err).Code == minio.NoSuchKey }

// explain says in words what a person can do about an answer of the store.
func (s *S3) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || sentinel(err) {
		return err
	}
	if errors.Is(err, errNoCredentials) {
		return fmt.Errorf("%w: %w", err, ci.ErrUnavailable)
	}
	var answered minio.ErrorResponse
	if !errors.As(err, &answered) {
		return fmt.Errorf("the store cannot be reached: %w: %w", err, ci.ErrUnavailable)
	}
	advice := "the store answers"
	switch answered.Code {
	case minio.NoSuchBucket:
		advice = fmt.Sprintf("there is no bucket %q; create it, or correct the address", s.at.Bucket)
	case minio.AccessDenied, "Forbidden", "403 Forbidden":
		advice = "the credentials do not suffice; docs/operate.md lists the rights that are needed"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken":
		advice = "the credentials are not valid; correct them where they are from (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...)"
	case "AuthorizationHeaderMalformed", "PermanentRedirect":
		advice = "the bucket is in another region; name it with ?region="
	}
	return fmt.Errorf("%s: %w: %w", advice, err, ci.ErrUnavailable)
}

// sentinel says whether an error says already of which kind it is.
func sentinel(err error) bool {
	return errors.Is(err, ci.ErrUnavailable) || errors.Is(err, ci.ErrInvalid) || errors.Is(err, ci.ErrNotFound)
}
