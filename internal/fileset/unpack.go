package fileset

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Limits bound what Unpack writes; zero values mean none.
type Limits struct {
	Bytes int64 // of all files together
	Files int   // entries of any kind
}

// Unpack writes the files of a tar below dir, which is made if missing, and
// reads r to its end. Existing files are replaced, directories kept. Modes and
// times are those of the archive (set-uid bits are not), the owner is who
// unpacks.
//
// An entry is refused with ErrInvalid when its name is absolute (unless dir is
// "/") or leads out of dir, when it is a link that leads out of dir, when it
// would be written through a link of the same archive, and when it is neither
// file, directory nor link. Links that were in dir before are followed, but
// never out of it.
func Unpack(ctx context.Context, dir string, r io.Reader, l Limits) (err error) {
	if !path.IsAbs(dir) {
		return fmt.Errorf("unpack into %q: the directory must be absolute: %w", dir, ci.ErrInvalid)
	}
	dir = path.Clean(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	u := &unpacker{dir: dir, root: root, limits: l, parents: map[string]int{}, links: map[string]bool{}, buf: make([]byte, 128<<10)}
	defer func() { err = errors.Join(err, u.close()) }()
	in := bufio.NewReaderSize(r, bufferSize)
	if err := errors.Join(u.all(ctx, tar.NewReader(in)), u.follow()); err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("unpack into %s: %w", dir, err)
	}
	return nil
}

// maxParents is how many directories stay open; a sorted archive needs only as
// many as it is deep.
const maxParents = 64

type unpacker struct {
	dir     string
	root    *os.Root
	limits  Limits
	files   int
	bytes   int64
	parents map[string]int  // descriptors of open directories, a few
	links   map[string]bool // that this archive made
	winding []string        // links with "..", looked at again at the end: text alone does not tell where they lead
	dirs    []*tar.Header   // whose modes and times are set at the end
	buf     []byte
}

func (u *unpacker) close() error {
	u.forget()
	return u.root.Close()
}

func (u *unpacker) forget() {
	for _, at := range u.parents {
		_ = unix.Close(at)
	}
	clear(u.parents)
}

func (u *unpacker) all(ctx context.Context, t *tar.Reader) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("%w: %w", badArchive(err), err)
		}
		if err := u.entry(h, t); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

// badArchive tells an archive that is none from a stream that broke.
func badArchive(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		return ci.ErrInvalid
	}
	return ci.ErrUnavailable
}

func refuse(why string) error { return fmt.Errorf("%s: %w", why, ci.ErrInvalid) }

// entry writes one entry, after it was found harmless.
func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // git archive puts the commit there
	}
	name, err := u.name(h.Name)
	if err != nil {
		return err
	}
	if u.files++; u.limits.Files > 0 && u.files > u.limits.Files {
		return refuse(fmt.Sprintf("more than %d entries", u.limits.Files))
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return refuse("sparse files are not taken")
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		h.Name = name
		return u.directory(h)
	case tar.TypeReg:
		return u.file(name, h, r)
	case tar.TypeSymlink:
		return u.symlink(name, h)
	case tar.TypeLink:
		return u.hardlink(name, h)
	}
	return refuse(fmt.Sprintf("a special file (type %q) is not taken", h.Typeflag))
}

// name makes an entry's name relative to dir, or refuses it.
func (u *unpacker) name(name string) (string, error) {
	if strings.ContainsRune(name, 0) {
		return "", refuse("a NUL byte in the name")
	}
	if path.IsAbs(name) {
		if u.dir != "/" {
			return "", refuse("an absolute name")
		}
		name = strings.TrimLeft(name, "/")
	}
	for c := range strings.SplitSeq(name, "/") {
		if c == ".." {
			return "", refuse("'..' in the name")
		}
	}
	name = path.Clean("/" + name)[1:]
	for p := name; len(u.links) > 0 && p != "" && p != "."; p = path.Dir(p) {
		if p != name && u.links[p] {
			return "", refuse(fmt.Sprintf("it is behind the link %q of the same archive", p))
		}
	}
	return name, nil
}

// parent opens the directory that name is in, making it where it is missing. It
// stays open for the files that come next.
func (u *unpacker) parent(name string) (at int, base string, err error) {
	dir, base := path.Split(name)
	dir = path.Clean("./" + dir)
	if at, ok := u.parents[dir]; ok {
		return at, base, nil
	}
	f, err := u.root.OpenFile(dir, unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = u.root.MkdirAll(dir, 0o755); err == nil {
			f, err = u.root.OpenFile(dir, unix.O_DIRECTORY, 0)
		}
	}
	if err != nil {
		return 0, "", u.outside(err)
	}
	defer f.Close()
	// A bare descriptor: os.File would ask for its flags again at every use.
	if at, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return 0, "", fmt.Errorf("open %s: %w", dir, err)
	}
	if len(u.parents) >= maxParents {
		u.forget()
	}
	u.parents[dir] = at
	return at, base, nil
}

// outside makes an escape through a link, which os.Root has stopped, ErrInvalid.
func (u *unpacker) outside(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && strings.Contains(p.Err.Error(), "escapes") {
		return fmt.Errorf("a link on its way leads out of %s: %w", u.dir, ci.ErrInvalid)
	}
	return err
}

// place calls create for a new thing called base in the open directory at. When
// create says EEXIST, what has the name is removed, and create is called again.
func (u *unpacker) place(name string, create func(at int, base string) error) error {
	if name == "" || name == "." {
		return refuse("it is the directory itself")
	}
	at, base, err := u.parent(name)
	if err != nil {
		return err
	}
	if err = create(at, base); err != unix.EEXIST {
		return err
	}
	if err := u.remove(at, base); err != nil {
		return err
	}
	if u.forgetBelow(name) {
		if at, base, err = u.parent(name); err != nil {
			return err
		}
	}
	delete(u.links, name)
	return create(at, base)
}

// remove takes away a file, a link or an empty directory.
func (u *unpacker) remove(at int, base string) error {
	err := unix.Unlinkat(at, base, 0)
	if err == unix.EISDIR || err == unix.EPERM {
		err = unix.Unlinkat(at, base, unix.AT_REMOVEDIR)
	}
	switch err {
	case nil, unix.ENOENT:
		return nil
	case unix.ENOTEMPTY, unix.EEXIST:
		return refuse("there is a directory of that name, with files in it")
	}
	return fmt.Errorf("replace: %w", err)
}

// forgetBelow closes what is open at, or behind, a directory or a link that is
// gone: by that name it would still be found.
func (u *unpacker) forgetBelow(name string) bool {
	for dir := range u.parents {
		if dir == name || strings.HasPrefix(dir, name+"/") {
			u.forget()
			return true
		}
	}
	return false
}

func (u *unpacker) file(name string, h *tar.Header, r io.Reader) error {
	if u.bytes += h.Size; u.limits.Bytes > 0 && (u.bytes > u.limits.Bytes || u.bytes < 0) {
		return refuse(fmt.Sprintf("more than %d bytes of files", u.limits.Bytes))
	}
	return u.place(name, func(at int, base string) error {
		const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		perm := uint32(h.Mode & 0o777)
		fd, err := unix.Openat(at, base, flags, perm|0o200)
		if err == unix.EEXIST {
			return err
		}
		if err != nil {
			return fmt.Errorf("create: %w", err)
		}
		err = u.fill(fd, r, h.Size)
		if err == nil {
			err = unix.Fchmod(fd, perm) // whatever the umask is
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
		return setTime(at, base, h.ModTime)
	})
}

// fill writes a file's bytes. Plain system calls: os.File would first try, in
// vain, to have the runtime's poller watch the file.
func (u *unpacker) fill(fd int, r io.Reader, size int64) error {
	for left := size; left > 0; {
		n, err := io.ReadFull(r, u.buf[:min(left, int64(len(u.buf)))])
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		left -= int64(n)
		for b := u.buf[:n]; len(b) > 0; {
			n, err := unix.Write(fd, b)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return fmt.Errorf("write: %w", err)
			}
			b = b[n:]
		}
	}
	return nil
}

func setTime(at int, base string, t time.Time) error {
	if t.IsZero() {
		return nil
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.Unix(), Nsec: int64(t.Nanosecond())}}
	if err := unix.UtimesNanoAt(at, base, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

func (u *unpacker) directory(h *tar.Header) error {
	if h.Name == "" || h.Name == "." {
		return nil // dir itself keeps its mode
	}
	if u.links[h.Name] {
		return refuse("a link of the same archive has that name")
	}
	err := u.place(h.Name, func(at int, base string) error {
		err := unix.Mkdirat(at, base, 0o700)
		if err == unix.EEXIST {
			if info, err := u.root.Stat(h.Name); err == nil && info.IsDir() {
				return nil
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	u.dirs = append(u.dirs, h)
	return nil
}

func (u *unpacker) symlink(name string, h *tar.Header) error {
	target := h.Linkname
	if target == "" || strings.ContainsRune(target, 0) {
		return refuse("a link without a target")
	}
	rel := path.Join(path.Dir(name), target)
	if path.IsAbs(target) {
		if winds(target) && u.dir != "/" {
			return refuse(fmt.Sprintf("a link to %q, with '..' in an absolute target", target))
		}
		inside, ok := (&tree{path: u.dir}).inside(path.Clean(target))
		if !ok {
			return refuse(fmt.Sprintf("a link to %q, which is outside of %s", target, u.dir))
		}
		rel = inside
	}
	if u.dir != "/" && (rel == ".." || strings.HasPrefix(rel, "../")) {
		return refuse(fmt.Sprintf("a link to %q, which is outside of %s", target, u.dir))
	}
	return u.place(name, func(at int, base string) error {
		if err := unix.Symlinkat(target, at, base); err == unix.EEXIST {
			return err
		} else if err != nil {
			return fmt.Errorf("link: %w", err)
		}
		u.links[name] = true
		if !path.IsAbs(target) && strings.Contains(target, "..") {
			u.winding = append(u.winding, name)
		}
		return setTime(at, base, h.ModTime)
	})
}

// winds says that ".." comes behind a name in a path.
func winds(target string) bool {
	named := false
	for c := range strings.SplitSeq(target, "/") {
		if c == ".." && named {
			return true
		}
		named = named || c != "" && c != "." && c != ".."
	}
	return false
}

func (u *unpacker) hardlink(name string, h *tar.Header) error {
	old, err := u.name(h.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	if old == name {
		return refuse("a hard link to itself")
	}
	info, err := u.root.Lstat(old)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return refuse(fmt.Sprintf("a hard link to %q, which is not there", h.Linkname))
		}
		return u.outside(err)
	}
	if !info.Mode().IsRegular() {
		return refuse(fmt.Sprintf("a hard link to %q, which is not a file", h.Linkname))
	}
	return u.place(name, func(int, string) error {
		err := u.root.Link(old, name)
		if errors.Is(err, fs.ErrExist) {
			return unix.EEXIST
		}
		return u.outside(err)
	})
}

// follow looks where winding links really lead, now that everything is there,
// and takes those away that lead out. It is called for broken archives too.
func (u *unpacker) follow() error {
	if u.dir == "/" {
		return nil
	}
	var errs []error
	for _, name := range u.winding {
		if !u.links[name] {
			continue
		}
		if _, err := u.root.Stat(name); err != nil && errors.Is(u.outside(err), ci.ErrInvalid) {
			errs = append(errs, fmt.Errorf("entry %q: a link that leads out of %s: %w", name, u.dir, ci.ErrInvalid), u.root.Remove(name))
		}
	}
	return errors.Join(errs...)
}

// finish sets what later entries would have undone.
func (u *unpacker) finish() error {
	u.forget()
	for _, h := range slices.Backward(u.dirs) {
		if u.links[h.Name] {
			continue
		}
		f, err := u.root.OpenFile(h.Name, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // a later entry put something else there
		}
		err = errors.Join(f.Chmod(fs.FileMode(h.Mode&0o777)), setTime(int(f.Fd()), ".", h.ModTime), f.Close())
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
	return nil
}
