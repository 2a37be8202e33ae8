package blob

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// A file is a header of 128 bytes, the bytes put, and a CRC-32C of each block of
// them. The header comes first so that the size is known of a truncated file too;
// the checksums by block let a reader begin anywhere without reading from the
// start; the SHA-256 is for whole reads and for other machines.
//
//	0 magic | 8 size | 16 time, unix nanoseconds | 24 SHA-256 | 56 CRC of the table
//	60 block size | 64 zero | 124 CRC of the first 124 bytes
const (
	magic      = "sluiceb1"
	headerSize = 128
	blockSize  = 64 << 10
	sumSize    = 4
)

var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli()) }

type header struct {
	size  int64
	time  time.Time
	sha   [sha256.Size]byte
	table uint32
}

func (h header) blob(key string) ci.Blob {
	return ci.Blob{Key: key, Size: h.size, SHA256: hex.EncodeToString(h.sha[:]), Time: h.time}
}

func (h header) blocks() int64 { return (h.size + blockSize - 1) / blockSize }

func (h header) fileSize() int64 { return headerSize + h.size + h.blocks()*sumSize }

func (h header) bytes(magic string) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[8:], uint64(h.size))
	binary.LittleEndian.PutUint64(b[16:], uint64(h.time.UnixNano()))
	copy(b[24:], h.sha[:])
	binary.LittleEndian.PutUint32(b[56:], h.table)
	binary.LittleEndian.PutUint32(b[60:], blockSize)
	binary.LittleEndian.PutUint32(b[124:], checksum(b[:124]))
	return b
}

// readHeader reads and checks the header, and that the file is as
// long as it says: cut anywhere, it is found out before any of it is read.
func readHeader(f *os.File) (header, error) {
	b := make([]byte, headerSize)
	if n, err := f.ReadAt(b, 0); err == io.EOF {
		return header{}, fmt.Errorf("the file is cut after %d bytes: %w", n, ci.ErrInvalid)
	} else if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b, magic)
	if err != nil {
		return header{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return header{}, err
	}
	if info.Size() != h.fileSize() {
		return header{}, fmt.Errorf("its file has %d bytes, not %d: %w", info.Size(), h.fileSize(), ci.ErrInvalid)
	}
	return h, nil
}

// parseHeader checks all that the header itself can tell.
func parseHeader(b []byte, magic string) (header, error) {
	if !bytes.Equal(b[:8], []byte(magic)) || checksum(b[:124]) != binary.LittleEndian.Uint32(b[124:]) {
		return header{}, fmt.Errorf("its header is damaged: %w", ci.ErrInvalid)
	}
	h := header{
		size:  int64(binary.LittleEndian.Uint64(b[8:])),
		time:  time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:]))),
		table: binary.LittleEndian.Uint32(b[56:]),
	}
	copy(h.sha[:], b[24:])
	if h.size < 0 || h.size > 1<<60 || binary.LittleEndian.Uint32(b[60:]) != blockSize {
		return header{}, fmt.Errorf("its header is of another version: %w", ci.ErrInvalid)
	}
	return h, nil
}

// write copies r into f in the format above.
func write(f *os.File, r io.Reader, now time.Time) (header, error) {
	if _, err := f.Write(make([]byte, headerSize)); err != nil {
		return header{}, err
	}
	h := header{time: now}
	whole := sha256.New()
	block := make([]byte, blockSize)
	var sums []byte
	for {
		n, err := fill(r, block)
		if n > 0 {
			whole.Write(block[:n])
			sums = binary.LittleEndian.AppendUint32(sums, checksum(block[:n]))
			h.size += int64(n)
			if _, err := f.Write(block[:n]); err != nil {
				return header{}, err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return header{}, err
		}
	}
	whole.Sum(h.sha[:0])
	h.table = checksum(sums)
	if _, err := f.Write(sums); err != nil {
		return header{}, err
	}
	_, err := f.WriteAt(h.bytes(magic), 0)
	return h, err
}

// fill is io.ReadFull, but it keeps apart a source that ended (io.EOF) and one
// that says itself that it was cut (io.ErrUnexpectedEOF), which must not be kept.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}
