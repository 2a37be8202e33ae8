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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

// A backup is a tar, packed with Zstandard. It begins with what it is and ends with
// the list of all that is in it, so that one which was cut off is known for that.
const (
	headEntry   = "sluice-backup.json"
	tablesEntry = "tables.jsonl"
	endEntry    = "contents.json"
	blobEntries = "blobs/" // and the key
	fileEntries = "files/" // and the path below the data folder

	archiveFormat = "sluice backup 1"
)

// Head is what a backup says of itself.
type Head struct {
	Format  string    `json:"format"`
	Version string    `json:"version"` // of the sluice that made it
	Schema  int64     `json:"schema"`
	Time    time.Time `json:"time"`
	Keys    bool      `json:"keys"` // whether the master key and the admin's token are in it
}

// Contents is what is in a backup.
type Contents struct {
	Tables  store.Copied `json:"tables"`
	Builds  int          `json:"builds"`
	Entries []Entry      `json:"entries"`
	Notes   []string     `json:"notes,omitempty"`
}

// Entry is one of its files.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all entries.
func (c *Contents) Bytes() (n int64) {
	for _, e := range c.Entries {
		n += e.Size
	}
	return n
}

// Options of a backup.
type Options struct {
	Version string // of this program
	Keys    bool   // put the keys in too
}

// isKey names the files that open what else is in a backup.
func isKey(name string) bool {
	return name == "admin-token" || name == "admin-link" || name == "acme" || strings.HasPrefix(name, "master.key")
}

// remade says which of the data folder is not kept: the database and the blobs,
// which are copied by what is in them, and what a server makes again.
func remade(name string) bool {
	switch name {
	case "blobs", "cache", "git", "tmp", "sandboxes", "docker":
		return true
	}
	return strings.HasPrefix(name, "sluice.db") || strings.HasPrefix(name, ".")
}

type packer struct {
	Contents
	p    Place
	o    Options
	tar  *tar.Writer
	ids  map[string]bool // of builds in the copy of the database
	have map[string]bool // names of entries
}

// Backup writes all that a server keeps, as it is at one moment, while it runs. What
// is in it: the tables; of each build in them its blobs, logs and files; and all
// else in the data folder but what can be made again, such as caches.
func Backup(ctx context.Context, p Place, w io.Writer, o Options) (*Contents, error) {
	out, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	b := &packer{p: p, o: o, tar: tar.NewWriter(out), ids: map[string]bool{}, have: map[string]bool{}}
	err = b.run(ctx)
	if err == nil {
		err = b.tar.Close()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	return &b.Contents, nil
}

func (b *packer) run(ctx context.Context) error {
	snapshot, err := store.OpenSnapshot(ctx, b.p.Database)
	if err != nil {
		return err
	}
	defer func() { _ = snapshot.Close() }() // it was only read
	head, err := json.Marshal(Head{Format: archiveFormat, Version: b.o.Version, Schema: snapshot.Version(), Time: time.Now().UTC(), Keys: b.o.Keys})
	if err == nil {
		err = b.add(headEntry, int64(len(head)), strings.NewReader(string(head)))
	}
	if err == nil {
		err = b.tables(ctx, snapshot)
	}
	if err != nil {
		return err
	}
	ids, err := snapshot.Builds(ctx)
	if err != nil {
		return err
	}
	b.Builds = len(ids)
	for _, id := range ids {
		b.ids[string(id)] = true
		if err := b.blobs(ctx, id.Blobs()+"/", func(string) bool { return true }); err != nil {
			return err
		}
	}
	if err := b.blobs(ctx, "", ofNoBuild); err != nil {
		return err
	}
	if err := b.files(ctx); err != nil {
		return err
	}
	end, err := json.Marshal(b.Contents)
	if err != nil {
		return err
	}
	return b.add(endEntry, int64(len(end)), strings.NewReader(string(end)))
}

// tables goes through a file without a name, because a tar wants to know sizes first.
func (b *packer) tables(ctx context.Context, s *store.Snapshot) error {
	f, err := os.CreateTemp(b.p.Data, ".backup-")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if b.Tables, err = s.Dump(ctx, f); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return b.add(tablesEntry, size, f)
}

// add writes one entry.
func (b *packer) add(name string, size int64, r io.Reader) error {
	err := b.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(b.tar, h), io.LimitReader(r, size))
	if err == nil && n < size {
		err = fmt.Errorf("it became shorter while it was read; try again: %w", ci.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.have[name] = true
	b.Entries = append(b.Entries, Entry{name, size, text(h)})
	return nil
}

// ofNoBuild says whether a blob belongs to no build and is no cache, such as a work
// tree that somebody sent.
func ofNoBuild(key string) bool {
	return !strings.HasPrefix(key, ci.BlobsOfBuilds) && !strings.HasPrefix(key, "cache/")
}

// blobs copies those whose keys begin with prefix and are wanted.
func (b *packer) blobs(ctx context.Context, prefix string, wanted func(key string) bool) error {
	var keys []string
	err := b.p.Blobs.List(ctx, prefix, func(b ci.Blob) error {
		if wanted(b.Key) {
			keys = append(keys, b.Key)
		}
		return nil
	})
	for _, key := range keys {
		if err != nil {
			break
		}
		var r io.ReadCloser
		var blob ci.Blob
		r, blob, err = b.p.Blobs.Open(ctx, key, 0)
		if errors.Is(err, ci.ErrNotFound) {
			b.Notes = append(b.Notes, fmt.Sprintf("blob %s was deleted meanwhile and is not in the backup", key))
			err = nil
			continue
		}
		if err == nil {
			err = b.add(blobEntries+key, blob.Size, r)
			_ = r.Close()
		}
	}
	return err
}

// files copies the data folder.
func (b *packer) files(ctx context.Context) error {
	top, err := os.ReadDir(b.p.Data)
	if err != nil {
		return err
	}
	for _, e := range top {
		name := e.Name()
		switch {
		case isKey(name) && !b.o.Keys, remade(name), b.apart(filepath.Join(b.p.Data, name)):
		case e.Type().IsRegular():
			err = b.file(name)
		case e.IsDir():
			err = b.dir(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// apart says whether a path is of what is copied otherwise.
func (b *packer) apart(path string) bool {
	database := strings.TrimPrefix(b.p.Database, "sqlite:")
	for _, file := range []string{"", "-wal", "-shm", "-journal", ".lock"} {
		if path == database+file {
			return true
		}
	}
	return b.p.Folder != "" && path == b.p.Folder
}

// dir copies a folder. Of an entry that goes meanwhile another form may have come:
// logs are packed.
func (b *packer) dir(ctx context.Context, name string) error {
	entries, err := os.ReadDir(filepath.Join(b.p.Data, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// An index before its log: it speaks then of no byte that is not copied.
	slices.SortStableFunc(entries, func(x, y fs.DirEntry) int { return order(x.Name()) - order(y.Name()) })
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		path := filepath.Join(name, e.Name())
		if (name == "builds" || name == "logs") && !b.ids[e.Name()] {
			continue // newer than the copy of the tables
		}
		switch {
		case e.IsDir():
			err = b.dir(ctx, path)
		case e.Type().IsRegular():
			err = b.file(path)
			if packed, isLog := strings.CutSuffix(path, ".log"); isLog && errors.Is(err, fs.ErrNotExist) {
				err = b.file(packed + ".zst")
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = nil // removed meanwhile
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func order(name string) int {
	if strings.HasSuffix(name, ".idx") {
		return 0
	}
	return 1
}

func (b *packer) file(path string) error {
	f, err := os.Open(filepath.Join(b.p.Data, path))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := fileEntries + filepath.ToSlash(path)
	if b.have[name] {
		return nil // a log that was packed while it was looked for
	}
	return b.add(name, info.Size(), f)
}
