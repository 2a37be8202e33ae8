package report

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonScanner reads JSON in one pass, value by value, and never holds more of a
// string than maxText: a report may hold screenshots of any size.
type jsonScanner struct {
	t     *text
	depth int
	str   kept
}

func newJSON(t *text) *jsonScanner { return &jsonScanner{t: t, str: kept{max: maxText}} }

var errCut = errors.New("the file ends within a value; what comes before is kept")

func (j *jsonScanner) wrong(what string) error {
	if err := j.t.failure(); err != nil {
		return fmt.Errorf("line %d: %w", j.t.line(), err)
	}
	if !j.t.more() {
		return fmt.Errorf("line %d: %w", j.t.line(), errCut)
	}
	return fmt.Errorf("line %d: want %s, found %q", j.t.line(), what, rune(j.t.peek()))
}

// kind looks at what comes next: '{', '[', '"', 't', 'f', 'n', '0' for a number;
// 0 at the end of the file or where no value begins.
func (j *jsonScanner) kind() byte {
	j.space()
	switch c := j.t.peek(); {
	case c == '{', c == '[', c == '"', c == 't', c == 'f', c == 'n':
		return c
	case c == '-', c >= '0' && c <= '9':
		return '0'
	}
	return 0
}

func (j *jsonScanner) space() {
	for j.t.more() {
		switch j.t.buf[j.t.pos] {
		case ' ', '\t', '\r', '\n':
			j.t.pos++
		default:
			return
		}
	}
}

// expect takes one punctuation character.
func (j *jsonScanner) expect(c byte, what string) error {
	j.space()
	if j.t.peek() != c || !j.t.more() {
		return j.wrong(what)
	}
	j.t.pos++
	return nil
}

// members calls f for each member of an object; f must take the value. What is
// not an object is passed over.
func (j *jsonScanner) members(f func(key string) error) error {
	if j.kind() != '{' {
		return j.skip()
	}
	return j.group('{', '}', func() error {
		if j.kind() != '"' {
			return j.wrong("a name in quotes")
		}
		key, err := j.quoted(true)
		if err == nil {
			err = j.expect(':', `":"`)
		}
		if err != nil {
			return err
		}
		return f(key)
	})
}

// elements calls f for each element of an array; f must take the value. What is
// not an array is passed over.
func (j *jsonScanner) elements(f func() error) error {
	if j.kind() != '[' {
		return j.skip()
	}
	return j.group('[', ']', f)
}

func (j *jsonScanner) group(opening, closing byte, f func() error) error {
	if err := j.expect(opening, "a value"); err != nil {
		return err
	}
	if j.depth++; j.depth > maxDepth {
		return fmt.Errorf("line %d: values are nested more than %d deep", j.t.line(), maxDepth)
	}
	j.space()
	if j.t.peek() == closing && j.t.more() {
		j.t.pos++
		j.depth--
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		j.space()
		switch c := j.t.peek(); c {
		case ',':
			j.t.pos++
		case closing:
			j.t.pos++
			j.depth--
			return nil
		default:
			return j.wrong(fmt.Sprintf(`"," or %q`, string(rune(closing))))
		}
	}
}

// skip passes over any value.
func (j *jsonScanner) skip() error {
	switch j.kind() {
	case '{':
		return j.members(func(string) error { return j.skip() })
	case '[':
		return j.elements(j.skip)
	case '"':
		_, err := j.quoted(false)
		return err
	case 0:
		return j.wrong("a value")
	}
	_, err := j.word()
	return err
}

// text takes a string; other values are passed over and give "".
func (j *jsonScanner) text() (string, error) {
	if j.kind() == '"' {
		return j.quoted(true)
	}
	return "", j.skip()
}

// number takes a number as it is written, also from a string; other values give "".
func (j *jsonScanner) number() (string, error) {
	switch j.kind() {
	case '0':
		return j.word()
	case '"':
		return j.quoted(true)
	}
	return "", j.skip()
}

// word takes a number, true, false or null.
func (j *jsonScanner) word() (string, error) {
	var b [64]byte
	n := 0
	for j.t.more() {
		c := j.t.buf[j.t.pos]
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '+' || c == '.') {
			break
		}
		if n == len(b) {
			return "", j.wrong("a shorter number")
		}
		b[n] = c
		n++
		j.t.pos++
	}
	w := string(b[:n])
	if w == "null" || w == "true" || w == "false" {
		return w, nil
	}
	if _, err := strconv.ParseFloat(w, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return "", fmt.Errorf("line %d: %q is no JSON value", j.t.line(), w)
	}
	return w, nil
}

// quoted takes a string, and answers the beginning of it if it is wanted.
func (j *jsonScanner) quoted(want bool) (string, error) {
	j.t.pos++ // the quote
	var k *kept
	if want {
		k = &j.str
		k.reset()
	}
	for j.t.more() {
		part := j.t.buf[j.t.pos:j.t.end]
		n := 0
		for n < len(part) && part[n] != '"' && part[n] != '\\' {
			n++
		}
		k.add(part[:n])
		j.t.pos += n
		if n == len(part) {
			continue
		}
		j.t.pos++
		if part[n] == '"' {
			if k == nil {
				return "", nil
			}
			return string(k.b), nil
		}
		if err := j.escape(k); err != nil {
			return "", err
		}
	}
	return "", j.wrong("the end of a string")
}

func (j *jsonScanner) escape(k *kept) error {
	c, ok := j.t.next()
	if !ok {
		return j.wrong("an escape")
	}
	switch c {
	case 'n':
		c = '\n'
	case 't':
		c = '\t'
	case 'r':
		c = '\r'
	case 'b', 'f':
		c = ' '
	case 'u':
		r, err := j.hex()
		if err != nil {
			return err
		}
		if utf16.IsSurrogate(r) && j.t.peek() == '\\' {
			j.t.pos++
			if j.t.peek() != 'u' { // half a character, and then another escape
				k.add([]byte("\ufffd"))
				return j.escape(k)
			}
			j.t.pos++
			low, err := j.hex()
			if err != nil {
				return err
			}
			r = utf16.DecodeRune(r, low)
		}
		k.add(utf8.AppendRune(nil, r))
		return nil
	}
	k.add([]byte{c})
	return nil
}

func (j *jsonScanner) hex() (rune, error) {
	var b [4]byte
	for i := range b {
		c, ok := j.t.next()
		if !ok {
			return 0, j.wrong("four hexadecimal digits")
		}
		b[i] = c
	}
	n, err := strconv.ParseUint(string(b[:]), 16, 32)
	if err != nil {
		return 0, fmt.Errorf("line %d: \\u%s is no escape", j.t.line(), clean(string(b[:]), 4))
	}
	return rune(n), nil
}

// done says what follows the outermost value, if anything does.
func (j *jsonScanner) done() error {
	j.space()
	if j.t.more() {
		return j.wrong("the end of the file")
	}
	return nil
}
