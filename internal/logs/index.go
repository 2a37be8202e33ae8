package logs

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sort"
	"time"
)

// recordSize is the size of an index record on disk.
const recordSize = 48

const recordMagic = 0x31494c53 // "SLI1"

const flagSealed = 1

// record is one entry of the index: how far the log was complete, and when.
type record struct {
	Time    time.Time
	Raw     int64  // raw offset to go on from
	Covered uint32 // raw bytes after Raw that a *** in the log already stands for
	Log     int64  // size of the log
	Lines   int64  // line ends in it
	Sealed  bool   // nothing follows
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r record) append(b []byte) []byte {
	n := len(b)
	var flags uint32
	if r.Sealed {
		flags |= flagSealed
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Raw))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Log))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Lines))
	b = binary.LittleEndian.AppendUint32(b, r.Covered)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint32(b, recordMagic)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// parseRecord reads a record; false when it is torn or not one.
func parseRecord(b []byte) (record, bool) {
	if len(b) < recordSize || binary.LittleEndian.Uint32(b[40:]) != recordMagic ||
		binary.LittleEndian.Uint32(b[44:]) != crc32.Checksum(b[:44], castagnoli) {
		return record{}, false
	}
	return record{
		Time:    time.Unix(0, int64(binary.LittleEndian.Uint64(b))),
		Raw:     int64(binary.LittleEndian.Uint64(b[8:])),
		Log:     int64(binary.LittleEndian.Uint64(b[16:])),
		Lines:   int64(binary.LittleEndian.Uint64(b[24:])),
		Covered: binary.LittleEndian.Uint32(b[32:]),
		Sealed:  binary.LittleEndian.Uint32(b[36:])&flagSealed != 0,
	}, true
}

// lastRecord finds the last whole record that the log bears out, and the size of
// the index up to and with it. It looks backwards, so it is one read in the
// usual case.
func lastRecord(idx io.ReaderAt, idxSize, logSize int64) (record, int64, error) {
	var b [recordSize]byte
	for n := idxSize / recordSize; n > 0; n-- {
		if _, err := idx.ReadAt(b[:], (n-1)*recordSize); err != nil {
			if errors.Is(err, io.EOF) {
				continue // cut meanwhile
			}
			return record{}, 0, err
		}
		if r, ok := parseRecord(b[:]); ok && r.Log <= logSize {
			return r, n * recordSize, nil
		}
	}
	return record{}, 0, nil
}

// searchIndex gives the last record for which after is not true; the zero
// record when there is none. after must be true from some record on.
func searchIndex(idx io.ReaderAt, size int64, after func(record) bool) record {
	n := firstRecord(idx, size, after)
	if n == 0 {
		return record{}
	}
	r, _ := recordAt(idx, n-1)
	return r
}

// firstRecord is the number of the first record for which after is true, or how
// many records there are.
func firstRecord(idx io.ReaderAt, size int64, after func(record) bool) int64 {
	return int64(sort.Search(int(size/recordSize), func(i int) bool {
		r, ok := recordAt(idx, int64(i))
		return !ok || after(r)
	}))
}

// recordAt reads the n-th record; false when there is none, or only a part of one.
func recordAt(idx io.ReaderAt, n int64) (record, bool) {
	var b [recordSize]byte
	if _, err := idx.ReadAt(b[:], n*recordSize); err != nil {
		return record{}, false
	}
	return parseRecord(b[:])
}
