package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"golang.org/x/sys/unix"
)

// maxValue is the size of the largest value that AWS keeps as well.
const maxValue = 64 << 10

// Store keeps secrets on this machine, each sealed under a master key. It stands
// in for Parameter Store and Secrets Manager: one value a name. It is safe from
// several goroutines and processes.
type Store struct{ dir string }

var _ ci.SecretSource = (*Store)(nil)

// Entry is what may be told of a kept secret.
type Entry struct {
	Name    string    `json:"name"`
	Updated time.Time `json:"updated"`
}

// contents is the file: names readable, values sealed.
type contents struct {
	Version int               `json:"version"`
	Secrets map[string]sealed `json:"secrets"`
}

type sealed struct {
	Value   []byte    `json:"value"`
	Updated time.Time `json:"updated"`
}

// OpenStore opens the store in a folder. Nothing is made before the first Set.
// Files that others may read or write are refused with ErrDenied.
func OpenStore(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	s := &Store{dir: abs}
	for _, path := range []string{s.keyFile(), s.file()} {
		if err := private(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open secrets: %w", err)
		}
	}
	return s, nil
}

func (s *Store) keyFile() string { return filepath.Join(s.dir, "master.key") }
func (s *Store) file() string    { return filepath.Join(s.dir, "secrets.json") }

// private refuses a file that anybody but its owner may read, and one that is not ours.
func private(path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: remove it: %w", path, ci.ErrDenied)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o, so others can get at it: chmod 600 it, and replace the secrets if others had access: %w", path, fi.Mode().Perm(), ci.ErrDenied)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d: use a store of your own: %w", path, st.Uid, ci.ErrDenied)
	}
	return nil
}

// Set keeps a value under a name, in place of an earlier one.
func (s *Store) Set(name, value string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if len(value) > maxValue {
		return fmt.Errorf("secret %q: %d bytes are too many, at most %d: %w", name, len(value), maxValue, ci.ErrInvalid)
	}
	return s.change(func(c *contents) error {
		box, err := s.box(len(c.Secrets) == 0)
		if err != nil {
			return err
		}
		c.Secrets[name] = sealed{Value: box.seal(name, value), Updated: time.Now().UTC().Truncate(time.Second)}
		return nil
	})
}

func checkName(name string) error {
	if name == "" || len(name) > 2048 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("secret name %q: want 1 to 2048 printable characters: %w", name, ci.ErrInvalid)
	}
	return nil
}

// Get gives the value of a name.
func (s *Store) Get(name string) (string, error) {
	c, err := s.read()
	if err != nil {
		return "", err
	}
	e, ok := c.Secrets[name]
	if !ok {
		return "", fmt.Errorf("secret %q: %w", name, ci.ErrNotFound)
	}
	box, err := s.box(false)
	if err != nil {
		return "", err
	}
	return box.open(name, e.Value)
}

// List tells the names, in order.
func (s *Store) List() ([]Entry, error) {
	c, err := s.read()
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(c.Secrets))
	for name, e := range c.Secrets {
		out = append(out, Entry{name, e.Updated})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Delete forgets a name; ErrNotFound when there is none.
func (s *Store) Delete(name string) error {
	return s.change(func(c *contents) error {
		if _, ok := c.Secrets[name]; !ok {
			return fmt.Errorf("secret %q: %w", name, ci.ErrNotFound)
		}
		delete(c.Secrets, name)
		return nil
	})
}

// Lookup answers for parameters and managed secrets by their names, too.
func (s *Store) Lookup(_ context.Context, kind ci.VariableKind, ref string) (string, error) {
	return lookUp(kind, ref, s.Get)
}

func (s *Store) read() (*contents, error) {
	c := &contents{Version: 1, Secrets: map[string]sealed{}}
	err := private(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(s.file())
	}
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	if err := json.Unmarshal(b, c); err != nil || c.Version != 1 || c.Secrets == nil {
		return nil, fmt.Errorf("read secrets: %s is damaged, or of a newer version: %w", s.file(), ci.ErrInvalid)
	}
	return c, nil
}

// change rewrites the file, one process at a time; readers see it before or after.
func (s *Store) change(f func(*contents) error) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	defer lock.Close()
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("write secrets: lock: %w", err)
	}
	c, err := s.read()
	if err != nil {
		return err
	}
	if err := f(c); err != nil {
		return err
	}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	if err := writeFile(s.file(), append(b, '\n'), os.Rename); err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	return nil
}

// writeFile writes aside, to the disk, and then puts the file in place.
func writeFile(path string, b []byte, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
