package depot

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// Target is where a backup is to go.
type Target struct {
	Data     string // folder that is not there, or empty
	Database string // "" or one below Data: a file; else a database that was not used yet
	// Blobs gets the blobs, when they are to lie elsewhere than in the folder
	// "blobs" of Data; there may be none of builds yet.
	Blobs ci.Blobs
}

// Restored is what became of a backup.
type Restored struct {
	Head     Head     `json:"backup"`
	Contents Contents `json:"contents"`
}

const (
	mostEntries = 50_000_000
	mostJSON    = 1 << 30  // of the list of contents
	mostWindow  = 64 << 20 // memory that unpacking may ask for
)

// Verify reads a backup to its end, compares all of it with what it says of itself,
// and makes a database of its tables in a folder that goes again.
func Verify(ctx context.Context, r io.Reader, temps string) (*Restored, error) {
	dir, err := os.MkdirTemp(temps, "sluice-verify-")
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	u := &unpacker{ctx: ctx, dir: dir, dry: true}
	if err := u.run(r); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if err := u.load("sqlite:" + filepath.Join(dir, "sluice.db")); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return &u.Restored, nil
}

// Restore makes a server's state of a backup. All of it is unpacked beside the
// target and verified first; then it is put in place. A target that holds anything
// is refused with ci.ErrConflict, an archive that is damaged or was made to do harm
// with ci.ErrInvalid; nothing has changed then.
func Restore(ctx context.Context, r io.Reader, to Target) (*Restored, error) {
	u, err := restore(ctx, r, to)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return &u.Restored, nil
}

func restore(ctx context.Context, r io.Reader, to Target) (u *unpacker, err error) {
	if err := vacant(ctx, to); err != nil {
		return nil, err
	}
	data := filepath.Clean(to.Data)
	staged := data + ".restoring"
	work := &unpacker{ctx: ctx, dir: staged}
	u = work
	if err := os.RemoveAll(u.dir); err != nil { // of one that was killed
		return nil, err
	}
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		for _, key := range work.moved {
			if err != nil {
				err = errors.Join(err, to.Blobs.Delete(context.WithoutCancel(ctx), key))
			}
		}
		if err != nil {
			err = errors.Join(err, os.RemoveAll(staged))
		}
	}()
	if err := u.run(r); err != nil {
		return nil, err
	}
	file, inside := within(data, to.Database)
	if inside {
		if err := u.load("sqlite:" + filepath.Join(u.dir, file)); err != nil {
			return nil, err
		}
	}
	if to.Blobs != nil {
		if err := u.move(to.Blobs); err != nil {
			return nil, err
		}
	}
	if !inside {
		if err := u.load(to.Database); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(filepath.Join(u.dir, tablesEntry)); err != nil {
		return nil, err
	}
	if err := os.Remove(data); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(u.dir, data); err != nil {
		return nil, err
	}
	parent, err := os.Open(filepath.Dir(data))
	if err != nil {
		return nil, err
	}
	return u, errors.Join(parent.Sync(), parent.Close())
}

// within says whether a database is a file below the data folder, and which.
func within(data, database string) (file string, ok bool) {
	if database == "" {
		return "sluice.db", true
	}
	if strings.Contains(database, "://") {
		return "", false
	}
	abs, err := filepath.Abs(strings.TrimPrefix(database, "sqlite:"))
	if err != nil {
		return "", false
	}
	file, err = filepath.Rel(data, abs)
	return file, err == nil && filepath.IsLocal(file)
}

// vacant refuses targets that hold anything. A database is looked at when it is filled.
func vacant(ctx context.Context, to Target) error {
	entries, err := os.ReadDir(to.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("the folder %s is not empty; move what is in it away, or name another: %w", to.Data, ci.ErrConflict)
	}
	if to.Blobs == nil {
		return nil
	}
	found := errors.New("found")
	err = to.Blobs.List(ctx, ci.BlobsOfBuilds, func(ci.Blob) error { return found })
	if errors.Is(err, found) {
		return fmt.Errorf("there are blobs of builds already where the backup's are to go; name another place: %w", ci.ErrConflict)
	}
	return err
}

type unpacker struct {
	Restored
	ctx   context.Context //nolint:containedctx // of one call of Restore
	dir   string
	dry   bool // only the tables are written
	root  *os.Root
	blobs *blob.Dir
	seen  map[string]Entry
	moved []string // keys of blobs that were put elsewhere
}

func bad(format string, args ...any) error {
	return fmt.Errorf("the backup cannot be used: %w: %w", fmt.Errorf(format, args...), ci.ErrInvalid)
}

// run unpacks the archive and compares it with its list of contents.
func (u *unpacker) run(r io.Reader) (err error) {
	if u.root, err = os.OpenRoot(u.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.root.Close()) }()
	if !u.dry {
		if u.blobs, err = blob.OpenDir(filepath.Join(u.dir, "blobs")); err != nil {
			return err
		}
	}
	in, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(mostWindow))
	if err != nil {
		return bad("%w", err)
	}
	defer in.Close()
	u.seen = map[string]Entry{}
	t := tar.NewReader(in)
	ended := false
	for n := 0; ; n++ {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) && ended {
			break
		}
		switch {
		case errors.Is(err, io.EOF):
			return bad("it is cut off: its list of contents is missing")
		case err != nil:
			return bad("%w", err)
		case ended:
			return bad("%q follows its list of contents", h.Name)
		case n == 0 && h.Name != headEntry:
			return bad("it does not begin with %s; was it made by sluice backup?", headEntry)
		case n >= mostEntries:
			return bad("it has more than %d entries", mostEntries)
		}
		if ended, err = u.entry(h, t); err != nil {
			return err
		}
	}
	return u.compare()
}

// entry unpacks one.
func (u *unpacker) entry(h *tar.Header, r io.Reader) (ended bool, err error) {
	name := h.Name
	if h.Typeflag != tar.TypeReg || h.Size < 0 {
		return false, bad("%.200q is no file", name)
	}
	if _, twice := u.seen[name]; twice {
		return false, bad("%.200q is in it twice", name)
	}
	sum := sha256.New()
	in := io.TeeReader(r, sum)
	key, isBlob := strings.CutPrefix(name, blobEntries)
	file, isFile := strings.CutPrefix(name, fileEntries)
	switch {
	case name == headEntry:
		if err := decode(in, &u.Head); err != nil || u.Head.Format != archiveFormat {
			return false, bad("its head says format %.40q, want %q (%v)", u.Head.Format, archiveFormat, err)
		}
	case name == endEntry:
		if err := decode(in, &u.Contents); err != nil {
			return false, bad("its list of contents: %w", err)
		}
		return true, nil
	case name == tablesEntry:
		err = u.write(name, in)
	case isBlob:
		if err := blob.CheckKey(key); err != nil || !strings.HasPrefix(key, ci.BlobsOfBuilds) && !ofNoBuild(key) {
			return false, bad("%.200q is no name of a blob that a backup holds", name)
		}
		if u.dry {
			_, err = io.Copy(io.Discard, in)
		} else {
			_, err = u.blobs.Put(u.ctx, key, in)
		}
	case isFile:
		top, _, _ := strings.Cut(file, "/")
		if path.Clean(file) != file || !filepath.IsLocal(filepath.FromSlash(file)) || strings.ContainsAny(file, "\\\x00") || remade(top) || top == tablesEntry {
			return false, bad("%.200q is no file that a backup holds", name)
		}
		if u.dry {
			_, err = io.Copy(io.Discard, in)
		} else {
			err = u.write(file, in)
		}
	default:
		return false, bad("%.200q is unknown", name)
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return false, bad("it is cut off in %.200q", name)
		}
		return false, err
	}
	u.seen[name] = Entry{name, h.Size, text(sum)}
	return false, nil
}

func decode(r io.Reader, into any) error {
	in := json.NewDecoder(io.LimitReader(r, mostJSON))
	if err := in.Decode(into); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // for the sum to be of all
	return err
}

// write puts a file below the folder that is unpacked to, out of which no name leads.
func (u *unpacker) write(name string, r io.Reader) error {
	name = filepath.FromSlash(name)
	if dir := filepath.Dir(name); dir != "." {
		if err := u.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, r); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// compare looks whether all is there that is listed, and nothing else.
func (u *unpacker) compare() error {
	for _, want := range u.Contents.Entries {
		got, ok := u.seen[want.Name]
		if !ok {
			return bad("%.200q is missing in it", want.Name)
		}
		if got != want {
			return bad("%.200q is not what was put into it", want.Name)
		}
		delete(u.seen, want.Name)
	}
	for name := range u.seen {
		return bad("%.200q is not in its list of contents", name)
	}
	return nil
}

// load fills a database.
func (u *unpacker) load(database string) error {
	f, err := u.open(tablesEntry)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := store.LoadDump(u.ctx, database, f)
	if err != nil {
		return err
	}
	if fmt.Sprint(got) != fmt.Sprint(u.Contents.Tables) {
		return bad("its tables have %v rows, want %v", got.Rows, u.Contents.Tables.Rows)
	}
	return nil
}

func (u *unpacker) open(name string) (*os.File, error) {
	f, err := os.Open(filepath.Join(u.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bad("%s is missing in it", name)
	}
	return f, err
}

// move takes the blobs to where they are to lie.
func (u *unpacker) move(to ci.Blobs) error {
	err := u.blobs.List(u.ctx, "", func(b ci.Blob) error {
		r, _, err := u.blobs.Open(u.ctx, b.Key, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		u.moved = append(u.moved, b.Key)
		put, err := to.Put(u.ctx, b.Key, r)
		if err == nil && put.SHA256 != b.SHA256 {
			err = fmt.Errorf("blob %s came out otherwise than it was", b.Key)
		}
		return err
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(u.dir, "blobs"))
}
