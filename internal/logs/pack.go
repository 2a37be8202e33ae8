package logs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/filelock"
)

// packLeast is the size from which on packing a log is worth the trouble.
const packLeast = 16 << 10

// sealedDir holds a file for each log that was sealed and is still to be packed.
// No build has that name, since a segment never begins with a dot.
const sealedDir = ".sealed"

// mark notes that a log is to be packed. Killed before, it is not, which only
// costs space.
func (s *Store) mark(name ci.StepID) error { return s.markIn(sealedDir, name) }

// markIn makes a file that names a log in a folder of such files.
func (s *Store) markIn(dir string, name ci.StepID) error {
	if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
		return err
	}
	return os.WriteFile(s.markOf(dir, name), []byte(name), 0o600)
}

func (s *Store) markOf(dir string, name ci.StepID) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, dir, hex.EncodeToString(sum[:16]))
}

// Packed says what Pack did.
type Packed struct {
	Logs          int
	Before, After int64 // bytes on the disk
}

// Pack compresses the logs that were sealed longer than age ago. They read as
// before. What it was killed at, the next one does again. A log that cannot be
// packed stays as it is, and is tried again.
func (s *Store) Pack(ctx context.Context, age time.Duration) (done Packed, err error) {
	dir := filepath.Join(s.dir, sealedDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return done, fmt.Errorf("pack logs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		info, err := e.Info()
		if err != nil || s.opt.Now().Sub(info.ModTime()) < age {
			continue // somebody else did it, or it is too early
		}
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(path, unfinished) {
			continue // goes with the next try of its log
		}
		before, after, err := s.packMarked(ctx, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if before > 0 {
			done.Logs++
			done.Before, done.After = done.Before+before, done.After+after
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("pack logs: %w", err))
		}
	}
	return done, errors.Join(errs...)
}

// unfinished is behind the name of a file that is being written.
const unfinished = ".tmp"

// packMarked packs the log that a mark names.
func (s *Store) packMarked(ctx context.Context, mark string) (before, after int64, err error) {
	name, err := os.ReadFile(mark)
	if err != nil {
		return 0, 0, fmt.Errorf("pack a log: %w", err)
	}
	base, err := s.base(ci.StepID(name))
	if err != nil {
		return 0, 0, nil //nolint:nilerr // the mark was torn by a kill; its log stays as it is
	}
	if before, after, err = s.pack(ctx, base, mark+unfinished); err != nil {
		return 0, 0, fmt.Errorf("pack the log of step %q: %w", name, err)
	}
	return before, after, nil
}

// pack puts the packed log in the place of the plain one. Readers find one of the
// two at any time. 0 bytes before say that there was nothing to do.
func (s *Store) pack(ctx context.Context, base, temporary string) (before, after int64, err error) {
	plain, err := os.OpenFile(base+logSuffix, os.O_RDWR, 0) // to be locked
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil // packed already, or removed with its build
	}
	if err != nil {
		return 0, 0, err
	}
	defer plain.Close()
	if err := filelock.TryLock(plain); errors.Is(err, filelock.ErrTaken) {
		return 0, 0, nil // its writer marks it again
	} else if err != nil {
		return 0, 0, err
	}
	info, err := s.stat(base)
	if err != nil || !info.Sealed {
		return 0, 0, err
	}
	if packed, err := s.isPacked(base); err != nil {
		return 0, 0, err
	} else if !packed { // else a kill came before the plain one was removed
		if err := s.writePacked(ctx, plain, info.Size, temporary); err != nil {
			return 0, 0, errors.Join(err, os.Remove(temporary))
		}
		if err := os.Rename(temporary, base+packedSuffix); err != nil {
			return 0, 0, errors.Join(err, os.Remove(temporary))
		}
		if err := syncDir(filepath.Dir(base)); err != nil {
			return 0, 0, err
		}
	}
	small, err := os.Stat(base + packedSuffix)
	if err != nil {
		return 0, 0, err
	}
	return info.Size, small.Size(), os.Remove(base + logSuffix)
}

// writePacked writes a packed log, and reads it again before anybody relies on it.
func (s *Store) writePacked(ctx context.Context, plain io.Reader, size int64, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	sum := newSum()
	err = writeFrames(ctx, f, io.TeeReader(io.LimitReader(plain, size), sum))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	packed, err := s.openPacked(path)
	if err != nil {
		return err
	}
	defer packed.Close()
	again := newSum()
	if n, err := io.Copy(again, io.NewSectionReader(packed, 0, size+1)); err != nil {
		return err
	} else if n != size || again.Sum32() != sum.Sum32() {
		return errors.New("what was packed does not read as what was written; is the disk sound?")
	}
	return nil
}

func newSum() hash.Hash32 { return crc32.New(castagnoli) }

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) isPacked(base string) (bool, error) {
	_, err := os.Stat(base + packedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(2*frameSize), zstd.WithDecoderLowmem(true))
}
