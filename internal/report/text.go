package report

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

const bufferSize = 64 << 10

// text is a file as UTF-8 that knows on which line it is.
type text struct {
	r        io.Reader
	buf      []byte
	pos, end int
	mark     int // the line feeds before it are counted in lines
	lines    int
	err      error // why there is no more; io.EOF at the end
}

// newText finds out the encoding from a byte order mark, from zero bytes, or from
// an XML declaration. The second answer is a complaint about it, or "".
func newText(r io.Reader) (*text, string) {
	in := bufio.NewReaderSize(r, 4096)
	head, _ := in.Peek(1024)
	t := &text{r: in, buf: make([]byte, bufferSize)}
	enc, skip, complaint := detect(head)
	_, _ = in.Discard(skip)
	if enc != nil {
		t.r = enc.NewDecoder().Reader(in)
	}
	return t, complaint
}

// detect answers the encoding, nil for UTF-8, and the bytes of a mark to skip.
func detect(head []byte) (enc encoding.Encoding, skip int, complaint string) {
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		return nil, 3, ""
	case bytes.HasPrefix(head, []byte("\xff\xfe")), len(head) > 1 && head[0] != 0 && head[1] == 0:
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), 0, ""
	case bytes.HasPrefix(head, []byte("\xfe\xff")), len(head) > 1 && head[0] == 0 && head[1] != 0:
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM), 0, ""
	}
	name := declared(head)
	switch name {
	// What is declared as UTF-16 and has no zero bytes was written through a
	// string in memory, as .NET programs do, and is UTF-8.
	case "", "utf-8", "utf8", "utf-16", "utf16", "unicode", "us-ascii", "ascii":
		return nil, 0, ""
	case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "windows-1252", "cp1252":
		return charmap.Windows1252, 0, "" // a superset, as browsers take it
	case "iso-8859-2", "iso8859-2", "latin2":
		return charmap.ISO8859_2, 0, ""
	case "iso-8859-15", "iso8859-15", "latin9":
		return charmap.ISO8859_15, 0, ""
	case "windows-1250", "cp1250":
		return charmap.Windows1250, 0, ""
	case "windows-1251", "cp1251":
		return charmap.Windows1251, 0, ""
	case "koi8-r":
		return charmap.KOI8R, 0, ""
	}
	return nil, 0, fmt.Sprintf("encoding %q is not known, read as UTF-8; write the report in UTF-8", clean(name, 40))
}

// declared is the encoding that an XML declaration names, in lower case.
func declared(head []byte) string {
	if !bytes.HasPrefix(head, []byte("<?xml")) {
		return ""
	}
	head, _, _ = bytes.Cut(head, []byte("?>"))
	_, after, ok := strings.Cut(string(head), "encoding")
	after = strings.TrimLeft(after, " \t\r\n=")
	if !ok || after == "" || after[0] != '"' && after[0] != '\'' {
		return ""
	}
	name, _, _ := strings.Cut(after[1:], after[:1])
	return strings.ToLower(strings.TrimSpace(name))
}

// more makes at least one byte available at pos, or answers false at the end.
func (t *text) more() bool {
	if t.pos < t.end {
		return true
	}
	t.lines += bytes.Count(t.buf[t.mark:t.end], []byte{'\n'})
	t.pos, t.end, t.mark = 0, 0, 0
	for empty := 0; t.err == nil && t.end == 0; empty++ {
		t.end, t.err = t.r.Read(t.buf)
		if empty == 100 && t.end == 0 && t.err == nil {
			t.err = io.ErrNoProgress
		}
	}
	return t.end > 0
}

// next takes a byte; false at the end.
func (t *text) next() (byte, bool) {
	if t.pos == t.end && !t.more() {
		return 0, false
	}
	c := t.buf[t.pos]
	t.pos++
	return c, true
}

// peek looks at the next byte; 0 at the end.
func (t *text) peek() byte {
	if t.pos == t.end && !t.more() {
		return 0
	}
	return t.buf[t.pos]
}

// line counts from 1 and is that of the next byte.
func (t *text) line() int {
	t.lines += bytes.Count(t.buf[t.mark:t.pos], []byte{'\n'})
	t.mark = t.pos
	return t.lines + 1
}

// until takes all up to and including c, and keeps what is before it; k may be
// nil. False when the file ended first.
func (t *text) until(c byte, k *kept) bool {
	for t.more() {
		part := t.buf[t.pos:t.end]
		if i := bytes.IndexByte(part, c); i >= 0 {
			k.add(part[:i])
			t.pos += i + 1
			return true
		}
		k.add(part)
		t.pos = t.end
	}
	return false
}

// untilSeq is until for a sequence such as "-->" of which all bytes but the last
// are the same, or which has two bytes.
func (t *text) untilSeq(seq string, k *kept) bool {
	last := seq[len(seq)-1]
	run := 0 // bytes of seq just seen
	for {
		if run == 0 {
			if !t.until(seq[0], k) {
				return false
			}
			run = 1
		}
		c, ok := t.next()
		switch {
		case !ok:
			return false
		case run == len(seq)-1 && c == last:
			return true
		case c == seq[0] && run == len(seq)-1:
			k.add([]byte{c}) // "]]]>": the first of three belongs to the text
		case c == seq[0]:
			run++
		default:
			for range run {
				k.add([]byte{seq[0]})
			}
			k.add([]byte{c})
			run = 0
		}
	}
}

// literal takes s if it comes next. If not, it may have taken a part of it.
func (t *text) literal(s string) bool {
	for i := range len(s) {
		if t.peek() != s[i] || t.pos == t.end {
			return false
		}
		t.pos++
	}
	return true
}

// failure is why reading stopped early, if it did.
func (t *text) failure() error {
	if t.err == io.EOF {
		return nil
	}
	return t.err
}

// kept is the beginning of something that may be of any size.
type kept struct {
	b   []byte
	max int
}

func (k *kept) add(p []byte) {
	if k != nil && len(k.b) < k.max {
		k.b = append(k.b, p[:min(len(p), k.max-len(k.b))]...)
	}
}

func (k *kept) reset() { k.b = k.b[:0] }
