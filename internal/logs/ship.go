package logs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Where several servers share their blobs, a log goes there when it is sealed, and
// who has no log of a job looks there. A log in the blobs is a magic number, the
// length of the index, the index, and the log as it is packed (frames.go).
const (
	shippedMagic = "sluicel1"
	// unshippedDir holds a file for each log that is still to go to the blobs.
	unshippedDir = ".unshipped"
	// fetchedDir holds logs that came from there. They can be fetched again.
	fetchedDir = ".fetched"
	fetchedAge = 24 * time.Hour
	// shipTime is how long the end of a step waits for its log to be shipped. After
	// that Ship does it, and who reads it meanwhile from afar finds it missing.
	shipTime = 20 * time.Second
)

// ship puts a sealed log into the blobs and takes its mark away. One that was
// removed meanwhile, or is not sealed, is left.
func (s *Store) ship(ctx context.Context, name ci.StepID) error {
	base, err := s.base(name)
	if err != nil {
		return err
	}
	info, err := s.stat(base)
	if err == nil && info.Sealed {
		err = s.put(ctx, name, base)
	} else if err == nil {
		return nil // what was killed in sealing it seals it again
	}
	if err != nil && !errors.Is(err, ci.ErrNotFound) {
		return fmt.Errorf("store the log of step %q: %w", name, err)
	}
	if err := os.Remove(s.markOf(unshippedDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store the log of step %q: %w", name, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, name ci.StepID, base string) error {
	log, idx, err := s.openBoth(base)
	if err != nil {
		return err
	}
	defer log.Close()
	defer idx.Close()
	records, err := idx.length()
	if err != nil {
		return err
	}
	size, err := log.length()
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint64([]byte(shippedMagic), uint64(records))
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(head)
		if err == nil {
			_, err = io.Copy(w, io.NewSectionReader(idx, 0, records))
		}
		if err == nil {
			err = writeFrames(ctx, w, io.NewSectionReader(log, 0, size))
		}
		_ = w.CloseWithError(err)
		done <- err
	}()
	_, err = s.opt.Blobs.Put(ctx, name.LogBlob(), r)
	_ = r.CloseWithError(errors.New("the store takes no more"))
	if werr := <-done; err == nil {
		err = werr
	}
	return err
}

// Ship puts into the blobs what could not be put when it was sealed, and lets go of
// logs that were fetched a day ago. Without blobs there is nothing to do.
func (s *Store) Ship(ctx context.Context) error {
	if s.opt.Blobs == nil {
		return nil
	}
	var errs []error
	marks, err := os.ReadDir(filepath.Join(s.dir, unshippedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("store logs: %w", err))
	}
	for _, m := range marks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, err := os.ReadFile(filepath.Join(s.dir, unshippedDir, m.Name()))
		if err == nil && len(name) > 0 {
			err = s.ship(ctx, ci.StepID(name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process may have been at it
			errs = append(errs, err)
		}
	}
	fetched, _ := os.ReadDir(filepath.Join(s.dir, fetchedDir)) // there may be none
	for _, e := range fetched {
		if info, err := e.Info(); err == nil && s.opt.Now().Sub(info.ModTime()) > fetchedAge {
			errs = append(errs, os.RemoveAll(filepath.Join(s.dir, fetchedDir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// readable is the path of a log's files for those who read it: here, where its job
// was done here, else of what is fetched from the blobs.
func (s *Store) readable(ctx context.Context, name ci.StepID) (string, error) {
	base, err := s.base(name)
	if err != nil || s.opt.Blobs == nil {
		return base, err
	}
	job, err := s.base(ci.StepID(name.Job()))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(job); err == nil {
		return base, nil
	}
	rel, err := filepath.Rel(s.dir, base)
	if err != nil {
		return "", err
	}
	fetched := filepath.Join(s.dir, fetchedDir, rel)
	if _, err := os.Stat(fetched + indexSuffix); err == nil {
		return fetched, nil
	}
	err = s.fetch(ctx, name, fetched)
	if errors.Is(err, ci.ErrNotFound) {
		return base, nil
	}
	if err != nil {
		return "", fmt.Errorf("fetch the log of step %q: %w", name, err)
	}
	return fetched, nil
}

// fetch brings a log from the blobs. The index comes last: where it is, all is.
func (s *Store) fetch(ctx context.Context, name ci.StepID, base string) error {
	r, blob, err := s.opt.Blobs.Open(ctx, name.LogBlob(), 0)
	if err != nil {
		return err
	}
	defer r.Close()
	head := make([]byte, len(shippedMagic)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	records := binary.LittleEndian.Uint64(head[len(shippedMagic):])
	if !bytes.HasPrefix(head, []byte(shippedMagic)) || records > uint64(blob.Size)-uint64(len(head)) {
		return errors.New("it is not in the form of logs")
	}
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return err
	}
	idx := make([]byte, records)
	if _, err := io.ReadFull(r, idx); err != nil {
		return err
	}
	if err := writeRenamed(base+packedSuffix, r); err != nil {
		return err
	}
	return writeRenamed(base+indexSuffix, bytes.NewReader(idx))
}

// writeRenamed puts a file in place whole.
func writeRenamed(path string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
