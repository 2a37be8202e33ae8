package logs

import (
	"errors"
	"io"
)

const mark = "***"

// blockSize is how much is masked and written at a time, so that memory stays
// flat whatever comes in one Write.
const blockSize = 64 << 10

// Masker writes what is written to it with every secret replaced by ***. Values
// that overlap in the text become one ***. It holds back only bytes that are
// the beginning of a secret, until the next bytes tell or Close.
type Masker struct {
	w      io.Writer
	s      stream
	err    error
	closed bool
}

// NewMasker masks the values of the secrets and AWS access key ids on their way
// to w. Values shorter than MinSecret are not masked. A value is also found with
// CR LF for LF, without the white space around it, and line by line.
func NewMasker(w io.Writer, secrets []string) *Masker {
	return &Masker{w: w, s: stream{m: newMatcher(secrets)}}
}

// Write masks and passes on. It takes all of p or fails for good.
func (k *Masker) Write(p []byte) (int, error) {
	if k.closed {
		return 0, errors.New("mask output: already closed")
	}
	done := 0
	for done < len(p) && k.err == nil {
		b := p[done:min(len(p), done+blockSize)]
		if out := k.s.next(b); len(out) > 0 {
			_, k.err = k.w.Write(out)
		}
		if k.err == nil {
			done += len(b)
		}
	}
	return done, k.err
}

// Close passes on what was held back. It does not close the writer below.
func (k *Masker) Close() error {
	if k.closed || k.err != nil {
		return k.err
	}
	k.closed = true
	if out := k.s.rest(); len(out) > 0 {
		_, k.err = k.w.Write(out)
	}
	return k.err
}

// stream is the state of masking one text. Positions count the raw bytes from
// where the stream began.
type stream struct {
	m     *matcher
	pos   int64 // bytes seen
	node  int32
	aws   uint32
	out   int64  // bytes answered for, by themselves or by a ***
	held  []byte // the raw bytes [settled, pos)
	spans []span // matches that are not done with, in order, none overlapping
	buf   []byte
}

// span is a matched stretch. Shown: its *** is out, only its end may still move.
type span struct {
	from, to int64
	shown    bool
}

// resume begins a stream in the middle: the first covered bytes belong to a
// match whose *** is already out.
func resume(m *matcher, covered int64) stream {
	s := stream{m: m}
	if covered > 0 {
		s.spans = append(s.spans, span{0, covered, true})
		s.out = covered
	}
	return s
}

// settled is the position before which everything is decided, and how many bytes
// after it belong to a match whose *** is already out. A new stream from there
// on gives the rest of the same output.
func (s *stream) settled() (raw, covered int64) {
	raw = s.pos - int64(len(s.held))
	return raw, max(0, s.out-raw)
}

// next masks a piece. The answer is good until the next call and may be a part of p.
func (s *stream) next(p []byte) []byte {
	base := s.pos
	for i := 0; i < len(p); {
		if s.node == 0 && s.aws == 0 {
			if i = s.m.skip(p, i); i >= len(p) {
				break
			}
		}
		s.node = s.m.next(s.node, p[i])
		s.aws = awsNext(s.aws, p[i])
		i++
		n := int64(s.m.nodes[s.node].out)
		if s.aws>>(awsKeyLen-1) != 0 {
			n = max(n, awsKeyLen)
		}
		if n > 0 {
			s.match(base+int64(i)-n, base+int64(i))
		}
	}
	s.pos += int64(len(p))
	hold := max(int(s.m.nodes[s.node].hold), awsHold(s.aws))
	return s.settle(p, s.pos-int64(hold))
}

// rest gives what is still held back; the text has ended.
func (s *stream) rest() []byte { return s.settle(nil, s.pos) }

// match notes a stretch, joined with those it overlaps.
func (s *stream) match(from, to int64) {
	sp := span{from, to, false}
	for n := len(s.spans); n > 0 && s.spans[n-1].to > from; n-- {
		last := s.spans[n-1]
		sp.from, sp.shown = min(sp.from, last.from), sp.shown || last.shown
		s.spans = s.spans[:n-1]
	}
	s.spans = append(s.spans, sp)
}

// settle gives the output up to position to and keeps the raw bytes after it.
// p is the last piece seen; matches found later begin at to or after it.
func (s *stream) settle(p []byte, to int64) []byte {
	w := emitter{held: s.held, p: p, start: s.pos - int64(len(p)), buf: s.buf[:0]}
	left := 0
	for left < len(s.spans) && s.spans[left].from < to {
		sp := &s.spans[left]
		if !sp.shown {
			w.raw(s.out, sp.from)
			w.mark()
			sp.shown = true
		}
		s.out = sp.to
		if sp.to > to {
			break // its end may still move
		}
		left++
	}
	s.spans = s.spans[:copy(s.spans, s.spans[left:])]
	if s.out < to {
		w.raw(s.out, to)
		s.out = to
	}
	res := w.result()
	s.buf = w.buf
	s.keep(p, int(s.pos-to))
	return res
}

// keep holds the last n of the bytes seen.
func (s *stream) keep(p []byte, n int) {
	if n <= len(p) {
		s.held = append(s.held[:0], p[len(p)-n:]...)
		return
	}
	drop := len(s.held) + len(p) - n
	s.held = append(s.held[:copy(s.held, s.held[drop:])], p...)
}

// emitter puts output together. As long as it is one stretch of p, nothing is copied.
type emitter struct {
	held  []byte
	p     []byte
	start int64 // position of p[0]; held ends there
	buf   []byte
	a, b  int // the stretch of p that follows buf
}

func (w *emitter) raw(from, to int64) {
	if from >= to {
		return
	}
	if from < w.start {
		h := w.held[int64(len(w.held))-(w.start-from):]
		w.flush()
		w.buf = append(w.buf, h[:min(to, w.start)-from]...)
		from = w.start
	}
	if from >= to {
		return
	}
	a, b := int(from-w.start), int(to-w.start)
	if a != w.b {
		w.flush()
		w.a = a
	}
	w.b = b
}

func (w *emitter) mark() {
	w.flush()
	w.buf = append(w.buf, mark...)
}

func (w *emitter) flush() {
	w.buf = append(w.buf, w.p[w.a:w.b]...)
	w.a = w.b
}

func (w *emitter) result() []byte {
	if len(w.buf) == 0 {
		return w.p[w.a:w.b]
	}
	w.flush()
	return w.buf
}
