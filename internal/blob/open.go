package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Open reads a blob from a byte on. It keeps reading the same bytes when the
// blob is replaced or deleted meanwhile. Each block is verified before any byte
// of it is handed out, and a read from 0 to the end verifies the SHA-256 too.
func (d *Dir) Open(_ context.Context, key string, from int64) (io.ReadCloser, ci.Blob, error) {
	if err := CheckKey(key); err != nil {
		return nil, ci.Blob{}, err
	}
	f, err := os.Open(filepath.Join(d.blobs, place(key)))
	if absent(err) {
		return nil, ci.Blob{}, fmt.Errorf("blob %s: %w", key, ci.ErrNotFound)
	}
	if err != nil {
		return nil, ci.Blob{}, fmt.Errorf("open blob %s: %w", key, err)
	}
	h, err := readHeader(f)
	if err == nil && (from < 0 || from > h.size) {
		err = fmt.Errorf("offset %d is not within its %d bytes: %w", from, h.size, ci.ErrInvalid)
	}
	if err != nil {
		_ = f.Close()
		return nil, ci.Blob{}, fmt.Errorf("open blob %s: %w", key, err)
	}
	return newVerified(key, file{f, h}, h, from), h.blob(key), nil
}

// stored is the bytes of a blob where they lie. Both calls fill p or fail; an
// io.EOF says that there are fewer bytes than the header tells.
type stored interface {
	table(p []byte) error          // the checksums of the blocks
	data(p []byte, at int64) error // the bytes put, from one on
	io.Closer
}

// file is a blob in a folder (format.go).
type file struct {
	*os.File
	h header
}

func (f file) table(p []byte) error { return f.data(p, f.h.size) }

func (f file) data(p []byte, at int64) error {
	_, err := f.ReadAt(p, headerSize+at)
	return err
}

func newVerified(key string, s stored, h header, from int64) *verified {
	v := &verified{key: key, stored: s, h: h, next: from / blockSize, skip: int(from % blockSize)}
	if from == 0 {
		v.whole = sha256.New()
	}
	return v
}

// verified hands out the blocks of a blob that match their checksums.
type verified struct {
	key string
	stored
	h     header
	sums  []byte    // the checksum table, once read
	whole hash.Hash // of a read from the start; else nil
	next  int64     // block to read next
	skip  int       // bytes of it that were not asked for
	block []byte
	left  []byte // of block, verified and not handed out yet
	err   error
}

func (v *verified) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(v.left) == 0 {
		if v.err == nil {
			v.err = v.advance()
		}
		if v.err != nil {
			return 0, v.err
		}
	}
	n := copy(p, v.left)
	v.left = v.left[n:]
	return n, nil
}

// advance verifies the next block, or answers io.EOF after the last.
func (v *verified) advance() error {
	if v.sums == nil {
		if err := v.readTable(); err != nil {
			return err
		}
	}
	if v.next == v.h.blocks() {
		if v.whole != nil && !bytes.Equal(v.whole.Sum(nil), v.h.sha[:]) {
			return v.damaged("its bytes do not match its SHA-256")
		}
		return io.EOF
	}
	at := v.next * blockSize
	n := min(blockSize, v.h.size-at)
	if v.block == nil {
		v.block = make([]byte, n)
	}
	b := v.block[:n]
	if err := v.data(b, at); err == io.EOF {
		return v.damaged("it is cut")
	} else if err != nil {
		return fmt.Errorf("read blob %s: %w", v.key, err)
	}
	if checksum(b) != binary.LittleEndian.Uint32(v.sums[v.next*sumSize:]) {
		return v.damaged(fmt.Sprintf("bytes %d to %d are not those that were put", at, at+n))
	}
	if v.whole != nil {
		v.whole.Write(b)
	}
	v.left, v.skip = b[v.skip:], 0
	v.next++
	return nil
}

// readTable reads the checksums.
func (v *verified) readTable() error {
	sums := make([]byte, v.h.blocks()*sumSize)
	if err := v.table(sums); err != nil {
		return fmt.Errorf("read blob %s: %w", v.key, err)
	}
	if checksum(sums) != v.h.table {
		return v.damaged("its checksums are damaged")
	}
	v.sums = sums
	return nil
}

func (v *verified) damaged(what string) error {
	return fmt.Errorf("blob %s is damaged: %s: %w", v.key, what, ci.ErrInvalid)
}
