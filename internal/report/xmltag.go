package report

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (x *xmlScanner) startTag() bool {
	x.attrs, x.arena.b = x.attrs[:0], x.arena.b[:0]
	x.name = x.word()
	x.stack = append(x.stack, x.name)
	for {
		c, ok := x.skipSpace()
		switch {
		case !ok:
			return false
		case c == '>':
			x.t.pos++
			return true
		case c == '/':
			x.t.pos++
			if x.t.peek() == '>' {
				x.t.pos++
				x.closing = 1
				return true
			}
		case c == '<': // the tag was never closed; take the next one as its child
			return true
		case c == '=' || c == '"' || c == '\'':
			x.t.pos++
		default:
			if !x.attribute() {
				return false
			}
		}
	}
}

func (x *xmlScanner) attribute() bool {
	name := x.word()
	c, ok := x.skipSpace()
	if !ok {
		return false
	}
	if c != '=' {
		return true
	}
	x.t.pos++
	if c, ok = x.skipSpace(); !ok {
		return false
	}
	from := len(x.arena.b)
	x.arena.max = from + maxText
	k := &x.arena
	if len(x.attrs) >= maxAttrs {
		k = nil
	}
	switch c {
	case '"', '\'':
		x.t.pos++
		if !x.t.until(c, k) {
			return false
		}
	default:
		for c = x.t.peek(); c > ' ' && c != '>' && c != '/'; c = x.t.peek() {
			k.add([]byte{c})
			x.t.pos++
		}
	}
	if k != nil {
		k.b = append(k.b[:from], unescape(k.b[from:])...)
		x.attrs = append(x.attrs, xmlAttr{name, from, len(k.b)})
	}
	return true
}

// endTag sets how many elements close. One that closes nothing is passed over.
func (x *xmlScanner) endTag() bool {
	name := x.word()
	if !x.t.until('>', nil) {
		return false
	}
	for i := len(x.stack) - 1; i >= 0; i-- {
		if x.stack[i] != name {
			continue
		}
		x.closing = len(x.stack) - i
		if x.closing > 1 {
			x.mismatch("</" + name + "> closes <" + x.stack[len(x.stack)-1] + "> too")
		}
		return true
	}
	x.mismatch("</" + name + "> closes nothing")
	return true
}

func (x *xmlScanner) mismatch(message string) {
	if !x.wrong {
		x.wrong = true
		x.complain(x.line, message)
	}
}

// word takes a name and answers it without its prefix. It takes at least a byte.
func (x *xmlScanner) word() string {
	x.tag.reset()
	for first := true; x.t.more(); first = false {
		c := x.t.buf[x.t.pos]
		if !first && (c <= ' ' || c == '>' || c == '/' || c == '=' || c == '<' || c == '"' || c == '\'') {
			break
		}
		x.t.pos++
		x.tag.b = append(x.tag.b, c)
		if len(x.tag.b) > maxName {
			x.tag.b = x.tag.b[:maxName]
		}
	}
	b := x.tag.b
	if i := bytes.IndexByte(b, ':'); i >= 0 && i+1 < len(b) {
		b = b[i+1:]
	}
	if s, ok := x.names[string(b)]; ok {
		return s
	}
	s := clean(string(b), maxName)
	if len(x.names) < 1000 {
		x.names[string(b)] = s
	}
	return s
}

func (x *xmlScanner) skipSpace() (byte, bool) {
	for x.t.more() {
		if c := x.t.buf[x.t.pos]; c > ' ' {
			return c, true
		}
		x.t.pos++
	}
	return 0, false
}

func nameStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == ':' || c >= 0x80
}

// unescape replaces XML's own entities and character references, in place.
func unescape(b []byte) []byte {
	i := bytes.IndexByte(b, '&')
	if i < 0 {
		return b
	}
	out := b[:i]
	for i < len(b) {
		if b[i] != '&' {
			out = append(out, b[i])
			i++
			continue
		}
		end := bytes.IndexByte(b[i:min(len(b), i+12)], ';')
		if end < 0 {
			out = append(out, '&')
			i++
			continue
		}
		if r, ok := entity(string(b[i+1 : i+end])); ok {
			out = utf8.AppendRune(out, r) // never longer than what it replaces
		} else {
			out = append(out, b[i:i+end+1]...)
		}
		i += end + 1
	}
	return out
}

func entity(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, false
	}
	base := 10
	if hex, ok := strings.CutPrefix(strings.ToLower(digits), "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !utf8.ValidRune(rune(n)) || n > utf8.MaxRune {
		return 0, false
	}
	return rune(n), true
}
