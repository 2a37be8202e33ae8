package source

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/ci"
)

// TypeUpload is a work tree that a user sent. Its location is "PROJECT/SHA256".
const TypeUpload = "upload"

// commitRecord is the key under which an archive of Pack says what it was packed
// from. It is in a global header, where git archive has its commit as well.
const commitRecord = "SLUICE.commit"

// Pack writes a source as an upload: a tar, compressed with zstd, of what Archive
// gives, with the commit before it. It answers with that commit.
func (f *Fetcher) Pack(ctx context.Context, s ci.Source, w io.Writer) (ci.Commit, error) {
	c, err := f.Resolve(ctx, s)
	if err != nil {
		return c, err
	}
	about, err := json.Marshal(c)
	if err != nil {
		return c, fmt.Errorf("pack %s: %w", s.Location, err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	if err != nil {
		return c, fmt.Errorf("pack %s: %w", s.Location, err)
	}
	head := tar.NewWriter(z)
	err = head.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{commitRecord: string(about)}})
	if err == nil {
		err = head.Flush() // and not Close: the archive goes on
	}
	if err == nil {
		err = f.Archive(ctx, s, c, z)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return c, fmt.Errorf("pack %s: %w", s.Location, err)
	}
	return c, nil
}

// maxWindow is the memory that unpacking an upload may take.
const maxWindow = 32 << 20

func unpacking(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
}

// uploaded opens an upload as the tar that it is.
func (f *Fetcher) uploaded(ctx context.Context, s ci.Source) (*uploadReader, error) {
	key, err := UploadKey(s.Location)
	if err != nil {
		return nil, err
	}
	if f.opt.Uploads == nil {
		return nil, fmt.Errorf("upload %s: there are no uploads here: %w", s.Location, ci.ErrNotFound)
	}
	r, _, err := f.opt.Uploads.Blobs.Open(ctx, key, 0)
	if err != nil {
		return nil, missing(s.Location, err)
	}
	z, err := unpacking(r)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upload %s: %w", s.Location, err), r.Close())
	}
	return &uploadReader{bufio.NewReaderSize(z, 64<<10), z, r}, nil
}

type uploadReader struct {
	*bufio.Reader
	z *zstd.Decoder
	r io.Closer
}

func (u *uploadReader) Close() error {
	u.z.Close()
	return u.r.Close()
}

func (f *Fetcher) resolveUpload(ctx context.Context, s ci.Source) (c ci.Commit, err error) {
	r, err := f.uploaded(ctx, s)
	if err != nil {
		return c, err
	}
	defer r.Close()
	h, err := tar.NewReader(r).Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("upload %s: %w", s.Location, err)
	}
	if h == nil || h.Typeflag != tar.TypeXGlobalHeader || h.PAXRecords[commitRecord] == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(h.PAXRecords[commitRecord]), &c); err != nil || c.Hash != "" && !isHash(c.Hash) || c.Ref != "" && !isRefName(c.Ref) {
		return ci.Commit{}, fmt.Errorf("upload %s: what it says of its commit makes no sense: %w", s.Location, ci.ErrInvalid)
	}
	return c, nil
}

// readUploadFile looks for a file by its name in the archive.
func (f *Fetcher) readUploadFile(ctx context.Context, s ci.Source, name string) ([]byte, error) {
	clean, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	for range maxLinks {
		content, to, err := f.searchUpload(ctx, s, clean)
		if err != nil || to == "" {
			return content, err
		}
		if clean = filepath.ToSlash(filepath.Join(filepath.Dir(clean), to)); filepath.IsAbs(to) || !filepath.IsLocal(clean) {
			break
		}
	}
	return nil, fmt.Errorf("file %s in the upload: its links lead nowhere: %w", name, ci.ErrInvalid)
}

// maxLinks is how many links are followed to a file.
const maxLinks = 16

// searchUpload gives the content of an entry, or where it leads as a link.
func (f *Fetcher) searchUpload(ctx context.Context, s ci.Source, name string) (content []byte, to string, err error) {
	r, err := f.uploaded(ctx, s)
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, "", fmt.Errorf("file %s in the upload: %w", name, ci.ErrNotFound)
		}
		switch {
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case err != nil:
			return nil, "", fmt.Errorf("upload %s: %w", s.Location, err)
		case strings.TrimSuffix(h.Name, "/") != name:
		case h.Typeflag == tar.TypeSymlink:
			return nil, h.Linkname, nil
		case h.Typeflag != tar.TypeReg:
			return nil, "", fmt.Errorf("file %s in the upload: it is no file: %w", name, ci.ErrInvalid)
		case h.Size > maxRead:
			return nil, "", fmt.Errorf("file %s in the upload: it is %d MiB; want %d at most: %w", name, h.Size>>20, maxRead>>20, ci.ErrInvalid)
		default:
			content, err = io.ReadAll(t)
			return content, "", err
		}
	}
}

// archiveUpload writes the archive without what is said of its commit, which not
// all who unpack would understand.
func (f *Fetcher) archiveUpload(ctx context.Context, s ci.Source, w io.Writer) error {
	r, err := f.uploaded(ctx, s)
	if err != nil {
		return err
	}
	defer r.Close()
	const block = 512
	head, err := r.Peek(block)
	if err == nil && head[156] == tar.TypeXGlobalHeader {
		size, bad := strconv.ParseInt(strings.Trim(string(head[124:136]), " \x00"), 8, 64)
		if bad != nil || size > maxTrailer {
			return fmt.Errorf("upload %s: its first header makes no sense: %w", s.Location, ci.ErrInvalid)
		}
		_, err = r.Discard(block + int((size+block-1)/block*block))
	}
	if err == nil {
		_, err = io.Copy(w, ctxReader{ctx, r})
	}
	if err != nil {
		return fmt.Errorf("unpack upload %s: %w", s.Location, err)
	}
	return nil
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
