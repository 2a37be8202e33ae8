package source

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Uploads keeps work trees that users sent, by project and content.
type Uploads struct {
	Blobs    ci.Blobs
	Most     int64 // bytes of one upload; 0 = no limit
	Unpacked int64 // bytes of the files in one; 0 = no limit
	Quota    int64 // bytes of all uploads of a project; 0 = no limit
}

// maxEntries is how many files one upload may have.
const maxEntries = 2_000_000

// uploadsBelow is where uploads are among other blobs.
const uploadsBelow = "uploads/"

// UploadKey is the blob of an upload, by its location; ci.ErrInvalid for what
// is no location of one.
func UploadKey(location string) (string, error) {
	project, sum, _ := strings.Cut(location, "/")
	if raw, err := hex.DecodeString(sum); ci.CheckProjectName(project) != nil || err != nil || len(raw) != sha256.Size || strings.ToLower(sum) != sum {
		return "", fmt.Errorf("upload %.200q: want PROJECT/SHA256: %w", location, ci.ErrInvalid)
	}
	return uploadsBelow + location, nil
}

// Find tells about an upload; ci.ErrNotFound when it is not there.
func (u *Uploads) Find(ctx context.Context, location string) (ci.Blob, error) {
	key, err := UploadKey(location)
	if err != nil {
		return ci.Blob{}, err
	}
	r, b, err := u.Blobs.Open(ctx, key, 0)
	if err != nil {
		return ci.Blob{}, missing(location, err)
	}
	return b, r.Close()
}

func missing(location string, err error) error {
	if errors.Is(err, ci.ErrNotFound) {
		return fmt.Errorf("upload %s: it is not on this server (any more): send it again: %w", location, ci.ErrNotFound)
	}
	return fmt.Errorf("upload %s: %w", location, err)
}

// Take stores an upload, after it was found to be what its location says, an
// archive, and within the limits; else nothing is stored, and it is ci.ErrInvalid.
func (u *Uploads) Take(ctx context.Context, location string, r io.Reader) (ci.Blob, error) {
	key, err := UploadKey(location)
	if err != nil {
		return ci.Blob{}, err
	}
	project, sum, _ := strings.Cut(location, "/")
	if err := u.room(ctx, project, key); err != nil {
		return ci.Blob{}, err
	}
	// What is stored is looked at as it passes by, by a reader of its own: its
	// verdict comes before the end of the bytes does, so what is bad is never there.
	ours, theirs := io.Pipe()
	verdict := make(chan error, 1)
	go func() { // ends when the pipe does, which Take closes on each way out
		err := u.inspect(ours)
		_ = ours.CloseWithError(err) // nil: the rest is of no interest
		verdict <- err
	}()
	in := &checkedReader{r: r, copy: theirs, sum: sha256.New(), want: sum, most: u.Most, verdict: verdict}
	b, err := u.Blobs.Put(ctx, key, in)
	_ = theirs.CloseWithError(io.ErrUnexpectedEOF)
	if !in.judged {
		<-verdict
	}
	if err != nil {
		if in.done != nil && !errors.Is(in.done, io.EOF) {
			err = in.done // without the words of the store around it
		}
		return ci.Blob{}, fmt.Errorf("upload to project %s: %w", project, err)
	}
	return b, nil
}

// room refuses an upload for which its project has none left.
func (u *Uploads) room(ctx context.Context, project, key string) error {
	if u.Quota == 0 {
		return nil
	}
	var used int64
	err := u.Blobs.List(ctx, uploadsBelow+project+"/", func(b ci.Blob) error {
		if b.Key != key {
			used += b.Size
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("uploads of project %s: %w", project, err)
	}
	if used >= u.Quota {
		return &TooLarge{fmt.Sprintf("the uploads of project %s take %d of the %d bytes that they may: delete builds that need them no more, or ask an operator for a higher --upload-quota", project, used, u.Quota)}
	}
	return nil
}

// TooLarge is the ci.ErrInvalid of what exceeds a limit.
type TooLarge struct{ text string }

func (t *TooLarge) Error() string { return t.text }

// Unwrap makes it a ci.ErrInvalid.
func (t *TooLarge) Unwrap() error { return ci.ErrInvalid }

// TooLarge says of what kind it is, to those who do not know this package.
func (t *TooLarge) TooLarge() bool { return true }

// checkedReader passes on what it reads, and at the end, before it says that it
// was the end, whether all was as it must be.
type checkedReader struct {
	r       io.Reader
	copy    *io.PipeWriter
	sum     hash.Hash
	want    string
	most, n int64
	verdict <-chan error
	judged  bool
	done    error
}

func (c *checkedReader) Read(p []byte) (int, error) {
	if c.done != nil {
		return 0, c.done
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	if c.most > 0 && c.n > c.most {
		c.done = &TooLarge{fmt.Sprintf("it has more than %d bytes, which is what one upload may have: leave out what the build does not need, or ask an operator for a higher --upload-max", c.most)}
		return 0, c.done
	}
	if n > 0 {
		if _, bad := c.copy.Write(p[:n]); bad != nil && !errors.Is(bad, io.ErrClosedPipe) {
			c.done = bad
			return 0, c.done
		}
	}
	if err == nil {
		return n, nil
	}
	if c.done = err; !errors.Is(err, io.EOF) {
		return n, err
	}
	_ = c.copy.Close()
	c.judged = true
	if bad := <-c.verdict; bad != nil {
		c.done = bad
	} else if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.want {
		c.done = fmt.Errorf("its SHA-256 is %s and not %s: it was damaged on the way, send it again: %w", got, c.want, ci.ErrInvalid)
	}
	return n, c.done
}

// inspect reads an upload to its end.
func (u *Uploads) inspect(r io.Reader) error {
	bad := func(err error) error {
		return fmt.Errorf("it is not a tar compressed with zstd: %w: %w", err, ci.ErrInvalid)
	}
	z, err := unpacking(r)
	if err != nil {
		return bad(err)
	}
	defer z.Close()
	t := tar.NewReader(z)
	var bytes int64
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			break
		}
		if err != nil {
			return bad(err)
		}
		if bytes += h.Size; u.Unpacked > 0 && bytes > u.Unpacked || n > maxEntries {
			return &TooLarge{fmt.Sprintf("unpacked it has more than %d files or %d bytes, which is what one upload may have", maxEntries, u.Unpacked)}
		}
		if err := harmless(h); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(z, maxTrailer)); err != nil {
		return bad(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return bad(err)
	}
	return nil
}

// maxTrailer is how much may come behind the end of a tar.
const maxTrailer = 1 << 20

// harmless refuses names that lead elsewhere, and what is neither file, directory
// nor link. Where links lead is looked at when it is unpacked, in the sandbox.
func harmless(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
	default:
		return fmt.Errorf("entry %q is neither a file nor a directory nor a link (type %q): %w", h.Name, h.Typeflag, ci.ErrInvalid)
	}
	if name := strings.TrimSuffix(h.Name, "/"); !filepath.IsLocal(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("entry %q leads out of the work tree: %w", h.Name, ci.ErrInvalid)
	}
	return nil
}

// List calls f for each upload.
func (u *Uploads) List(ctx context.Context, f func(location string, b ci.Blob) error) error {
	return u.Blobs.List(ctx, uploadsBelow, func(b ci.Blob) error {
		return f(strings.TrimPrefix(b.Key, uploadsBelow), b)
	})
}

// Remove removes an upload, or, by the name of a project, all of it.
func (u *Uploads) Remove(ctx context.Context, location string) error {
	return u.Blobs.Delete(ctx, uploadsBelow+location)
}
