package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-ci/sluice/internal/ci"
)

// S3 keeps blobs in a bucket of S3, or of a store that speaks its protocol. Any
// number of processes may use the same prefix of it at once. It implements ci.Blobs.
//
// It uses no more rights than GetObject, PutObject, DeleteObject,
// AbortMultipartUpload below its prefix and ListBucket,
// ListBucketMultipartUploads of its bucket.
type S3 struct {
	at    Address
	temps string // where a blob lies until it is sent
	core  minio.Core
}

var _ ci.Blobs = (*S3)(nil)

const (
	// partSize is above what most artifacts have, which so go in one request; ten
	// thousand parts of it are as much as S3 takes in one object.
	partSize = 64 << 20
	// Abandoned is when an upload in parts that is not complete is taken for one
	// whose writer was killed. The longest step is 36 hours, so no upload lasts longer.
	Abandoned = 48 * time.Hour
)

// OpenS3 finds credentials the way the AWS tools do (environment, profile, web
// identity, container, instance) and asks for the bucket. What is put lies in
// a file without a name in the folder temps until it is sent.
func OpenS3(ctx context.Context, at Address, temps string) (*S3, error) {
	s, err := newS3(ctx, at, temps)
	if err != nil {
		return nil, fmt.Errorf("blobs at %s: %w", at, err)
	}
	found, err := s.core.BucketExists(ctx, at.Bucket)
	if err == nil && !found {
		err = fmt.Errorf("there is no bucket %q; create it, or correct the address: %w", at.Bucket, ci.ErrUnavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("blobs at %s: %w", at, s.explain(err))
	}
	return s, nil
}

func newS3(ctx context.Context, at Address, temps string) (*S3, error) {
	if err := os.MkdirAll(temps, 0o700); err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w: %w", err, ci.ErrUnavailable)
	}
	if at.Region == "" {
		at.Region = cfg.Region
	}
	if at.Region == "" {
		at.Region = "us-east-1" // what stores that have no regions expect
	}
	endpoint := at.Endpoint
	if endpoint == "" {
		endpoint = "s3." + at.Region + ".amazonaws.com"
	}
	core, err := minio.NewCore(endpoint, &minio.Options{
		Creds: credentials.New(&chain{from: cfg.Credentials}), Secure: !at.Insecure, Region: at.Region,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ci.ErrInvalid)
	}
	return &S3{at: at, temps: temps, core: *core}, nil
}

// Below is a store of its own below a name in this one. What this one lists has
// no blobs of it only while nobody asks for that name.
func (s *S3) Below(name string) *S3 {
	below := *s
	below.at.Prefix += name + "/"
	return &below
}

// chain hands the credentials that the AWS SDK finds, and renews, to the client.
type chain struct {
	from aws.CredentialsProvider
	last aws.Credentials
}

// Retrieve implements credentials.Provider.
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext implements credentials.Provider.
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	ctx := context.Background()
	if cc != nil && cc.Context != nil {
		ctx = cc.Context
	}
	if c.from == nil {
		return credentials.Value{}, errNoCredentials
	}
	v, err := c.from.Retrieve(ctx)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("%w: %w", errNoCredentials, err)
	}
	c.last = v
	return credentials.Value{AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey, SessionToken: v.SessionToken, SignerType: credentials.SignatureV4}, nil
}

// IsExpired implements credentials.Provider. The client asks under its own lock.
func (c *chain) IsExpired() bool {
	return !c.last.HasKeys() || c.last.CanExpire && time.Until(c.last.Expires) < time.Minute
}

var errNoCredentials = errors.New("no AWS credentials are found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")

// Put stores what r gives under key, all of it or nothing: S3 shows an object
// when it is complete. An error of r, or ctx, means that nothing changed.
func (s *S3) Put(ctx context.Context, key string, r io.Reader) (ci.Blob, error) {
	name, err := s.object(key)
	if err != nil {
		return ci.Blob{}, err
	}
	f, err := s.temp()
	if err != nil {
		return ci.Blob{}, fmt.Errorf("put blob %s: %w", key, explain(err))
	}
	defer f.Close()
	h, err := write(f, reader{ctx, r}, time.Now())
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return ci.Blob{}, fmt.Errorf("put blob %s: %w", key, explain(err))
	}
	for try := 0; ; try++ {
		_, err = s.core.Client.PutObject(ctx, s.at.Bucket, name, outgoing(f, h), h.fileSize(), minio.PutObjectOptions{
			ContentType: "application/octet-stream", PartSize: partSize, SendContentMd5: true,
		})
		// Stores on a file system say so when a delete takes the folder at that moment.
		if err == nil || try == patience || minio.ToErrorResponse(err).Code != "ExistingObjectIsDirectory" {
			break
		}
	}
	if err != nil {
		return ci.Blob{}, fmt.Errorf("put blob %s: %w", key, s.explain(err))
	}
	return h.blob(key), nil
}

// object is the full name of a key's object.
func (s *S3) object(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	name := s.at.Prefix + object(key)
	if len(name) > maxKey {
		return "", fmt.Errorf("blob key %.40q... is too long: with the prefix its object's name has %d bytes, at most %d fit: %w", key, len(name), maxKey, ci.ErrInvalid)
	}
	return name, nil
}

// temp makes a file without a name, which goes with the process however that ends.
func (s *S3) temp() (*os.File, error) {
	f, err := os.CreateTemp(s.temps, "blob-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// objectMagic is of an object: a header, the checksums, the bytes. The checksums
// come before the bytes, because a reader needs them first and reads in one go.
const objectMagic = "sluiceo1"

// outgoing is a file of format.go in the order of an object. It can be read from
// anywhere and by several at once, so that parts go side by side and again.
func outgoing(f *os.File, h header) io.Reader {
	return io.NewSectionReader(&reordered{f, h, h.bytes(objectMagic)}, 0, h.fileSize())
}

type reordered struct {
	f    *os.File
	h    header
	head []byte
}

func (o *reordered) ReadAt(p []byte, at int64) (n int, err error) {
	table := o.h.blocks() * sumSize
	for n < len(p) {
		pos, m := at+int64(n), 0
		switch {
		case pos < headerSize:
			m = copy(p[n:], o.head[pos:])
		case pos < headerSize+table:
			pos -= headerSize
			m, err = o.f.ReadAt(p[n:n+int(min(int64(len(p)-n), table-pos))], headerSize+o.h.size+pos)
		case pos < headerSize+table+o.h.size:
			pos -= headerSize + table
			m, err = o.f.ReadAt(p[n:n+int(min(int64(len(p)-n), o.h.size-pos))], headerSize+pos)
		default:
			return n, io.EOF
		}
		if n += m; m == 0 && err != nil {
			return n, err
		}
	}
	return n, nil
}

// List calls f for each blob whose key begins with prefix, in the order of the
// keys' bytes. SHA256 is empty, because the list of a bucket does not hold it;
// Time is when S3 took it. Both are in what Open answers.
func (s *S3) List(ctx context.Context, prefix string, f func(ci.Blob) error) error {
	if prefix != "" {
		if err := CheckKey(prefix + "x"); err != nil {
			return fmt.Errorf("list blobs: %w", err)
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for o := range s.core.ListObjectsIter(ctx, s.at.Bucket, minio.ListObjectsOptions{Prefix: s.at.Prefix + objectPrefix(prefix), Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("list blobs: %w", s.explain(o.Err))
		}
		key, ok := objectKey(o.Key[min(len(s.at.Prefix), len(o.Key)):])
		if !ok {
			continue // not ours
		}
		if err := f(ci.Blob{Key: key, Size: dataSize(o.Size), Time: o.LastModified}); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// dataSize is how many bytes were put into an object of n; n itself where no
// number of bytes makes one of n, which then is damaged.
func dataSize(n int64) int64 {
	m := n - headerSize
	size := m - (m+blockSize+sumSize-1)/(blockSize+sumSize)*sumSize
	if size >= 0 && (header{size: size}).fileSize() == n {
		return size
	}
	return n
}

// Delete removes the blob whose key is prefix and all whose keys begin with
// prefix and a slash, as Dir.Delete does.
func (s *S3) Delete(ctx context.Context, prefix string) error {
	key, below := prefix, false
	if n := len(prefix); n > 1 && prefix[n-1] == '/' {
		key, below = prefix[:n-1], true
	}
	name, err := s.object(key)
	if err != nil {
		return fmt.Errorf("delete blobs: %w", err)
	}
	if !below {
		if err := s.core.RemoveObject(ctx, s.at.Bucket, name, minio.RemoveObjectOptions{}); err != nil && !missing(err) {
			return fmt.Errorf("delete blob %s: %w", key, s.explain(err))
		}
	}
	var names []string
	err = s.List(ctx, key+"/", func(b ci.Blob) error {
		names = append(names, s.at.Prefix+object(b.Key))
		return nil
	})
	if err != nil || len(names) == 0 {
		return err
	}
	results, err := s.core.RemoveObjectsWithIter(ctx, s.at.Bucket, func(yield func(minio.ObjectInfo) bool) {
		for _, name := range names {
			if !yield(minio.ObjectInfo{Key: name}) {
				return
			}
		}
	}, minio.RemoveObjectsOptions{})
	if err != nil {
		return fmt.Errorf("delete blobs %s: %w", prefix, s.explain(err))
	}
	for r := range results {
		if r.Err != nil && !missing(r.Err) && err == nil {
			err = fmt.Errorf("delete blobs %s: %w", prefix, s.explain(r.Err))
		}
	}
	return err
}

// Sweep removes what writers left that were killed while they sent a large blob
// in parts, where that began longer ago than begun: another process may be at the
// younger ones. Nobody sees them, but they are paid for.
func (s *S3) Sweep(ctx context.Context, begun time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for u := range s.core.ListIncompleteUploads(ctx, s.at.Bucket, s.at.Prefix, true) {
		if u.Err != nil {
			return fmt.Errorf("sweep unfinished uploads: %w", s.explain(u.Err))
		}
		if time.Since(u.Initiated) < begun {
			continue
		}
		if err := s.core.AbortMultipartUpload(ctx, s.at.Bucket, u.Key, u.UploadID); err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return fmt.Errorf("sweep unfinished uploads: %w", s.explain(err))
		}
	}
	return nil
}
