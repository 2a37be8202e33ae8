package logs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A packed log is a file in the seekable format of Zstandard
// (github.com/facebook/zstd/contrib/seekable_format): frames that each stand alone,
// behind them, in a frame that decoders pass over, the table of their sizes. So
// `zstd -dc` reads it, and a byte in the middle costs one frame.
const (
	frameSize  = 256 << 10 // of the log, in each frame but the last
	mostFrames = 1 << 22   // a log of 1 TiB

	skippable  = 0x184D2A5E
	seekable   = 0x8F92EAB1
	entrySize  = 8 // bytes packed, bytes unpacked
	headerSize = 8 // magic number, size
	footerSize = 9 // frames, descriptor, magic number
)

// writeFrames packs what r gives.
func writeFrames(ctx context.Context, w io.Writer, r io.Reader) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithWindowSize(frameSize), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	defer enc.Close()
	var table, packed []byte
	buf := make([]byte, frameSize)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			packed = enc.EncodeAll(buf[:n], packed[:0])
			if _, err := w.Write(packed); err != nil {
				return err
			}
			table = binary.LittleEndian.AppendUint32(table, uint32(len(packed)))
			table = binary.LittleEndian.AppendUint32(table, uint32(n))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	out := binary.LittleEndian.AppendUint32(nil, skippable)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(table)+footerSize))
	out = append(out, table...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(table)/entrySize))
	out = binary.LittleEndian.AppendUint32(append(out, 0), seekable)
	_, err = w.Write(out)
	return err
}

// frame is where one begins, in the file and in the log.
type frame struct{ packed, plain int64 }

// readTable reads the table at the end of a packed log of that size. The last
// entry is the end of all frames.
func readTable(f io.ReaderAt, size int64) ([]frame, error) {
	damaged := func(what string) error { return fmt.Errorf("the packed log is damaged: %s", what) }
	var foot [footerSize]byte
	if size < headerSize+footerSize {
		return nil, damaged("it is too short")
	}
	if _, err := f.ReadAt(foot[:], size-footerSize); err != nil {
		return nil, err
	}
	n := int64(binary.LittleEndian.Uint32(foot[:]))
	switch {
	case binary.LittleEndian.Uint32(foot[5:]) != seekable:
		return nil, damaged("it has no table")
	case foot[4] != 0 || n > mostFrames || size < headerSize+n*entrySize+footerSize:
		return nil, damaged("its table is not one that was written here")
	}
	table := make([]byte, headerSize+n*entrySize)
	begin := size - footerSize - int64(len(table))
	if _, err := f.ReadAt(table, begin); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(table) != skippable || int64(binary.LittleEndian.Uint32(table[4:])) != n*entrySize+footerSize {
		return nil, damaged("its table has no beginning")
	}
	frames := make([]frame, 1, n+1)
	for e := table[headerSize:]; len(e) > 0; e = e[entrySize:] {
		last, packed, plain := frames[len(frames)-1], binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
		if packed == 0 || plain == 0 || plain > frameSize || packed > 2*frameSize {
			return nil, damaged(fmt.Sprintf("frame %d has %d bytes for %d", len(frames)-1, packed, plain))
		}
		frames = append(frames, frame{last.packed + int64(packed), last.plain + int64(plain)})
	}
	if frames[n].packed != begin {
		return nil, damaged("its table is not of its frames")
	}
	return frames, nil
}

// packedFile reads a packed log as if it were plain.
type packedFile struct {
	*os.File
	frames []frame
	dec    *zstd.Decoder

	mu     sync.Mutex
	held   int // the frame in plain; -1 = none
	plain  []byte
	packed []byte
}

func (s *Store) openPacked(path string) (source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	p := &packedFile{File: f, held: -1}
	info, err := f.Stat()
	if err == nil {
		p.frames, err = readTable(f, info.Size())
	}
	if err == nil {
		p.dec, err = s.unpack()
	}
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	return p, nil
}

func (p *packedFile) length() (int64, error) { return p.frames[len(p.frames)-1].plain, nil }

// ReadAt reads from a byte of the log.
func (p *packedFile) ReadAt(b []byte, off int64) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.frames), func(i int) bool { return p.frames[i].plain > off }) - 1
	for ; n < len(b); i++ {
		if i < 0 || i >= len(p.frames)-1 {
			return n, io.EOF
		}
		if err := p.hold(i); err != nil {
			return n, err
		}
		n += copy(b[n:], p.plain[off+int64(n)-p.frames[i].plain:])
	}
	return n, nil
}

// hold unpacks a frame, unless it is the one at hand.
func (p *packedFile) hold(i int) error {
	if p.held == i {
		return nil
	}
	from, to := p.frames[i], p.frames[i+1]
	if n := int(to.packed - from.packed); cap(p.packed) < n {
		p.packed = make([]byte, n)
	} else {
		p.packed = p.packed[:n]
	}
	p.held = -1
	if _, err := p.File.ReadAt(p.packed, from.packed); err != nil {
		return err
	}
	plain, err := p.dec.DecodeAll(p.packed, p.plain[:0])
	if err == nil && int64(len(plain)) != to.plain-from.plain {
		err = fmt.Errorf("%d bytes came of %d", len(plain), to.plain-from.plain)
	}
	if err != nil {
		return fmt.Errorf("the packed log is damaged: frame %d: %w", i, err)
	}
	p.plain, p.held = plain, i
	return nil
}
