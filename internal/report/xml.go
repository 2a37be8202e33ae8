package report

import (
	"fmt"
	"slices"
)

const (
	maxDepth = 1000
	maxAttrs = 200
	maxText  = 24 << 10 // bytes kept of a text or an attribute: 5,000 runes fit
	maxName  = 200
)

// xmlScanner reads XML in one pass. It is forgiving where encoding/xml stops
// (control characters, bad UTF-8, stray ampersands, wrong end tags), and it never
// holds more of a text than is wanted. Entities other than the five of XML stay
// as they are written; a document type declaration is skipped.
type xmlScanner struct {
	t        *text
	complain func(line int, message string) // of what was wrong but could be passed over
	name     string                         // of the tag, without its prefix
	line     int                            // where the tag begins
	stack    []string                       // names of the open elements; the last is the current one
	attrs    []xmlAttr
	arena    kept // their values
	closing  int  // elements to close before reading on
	capture  int  // depth of the element whose text is kept; 0 = none
	content  kept
	names    map[string]string
	tag      kept
	wrong    bool // a wrong end tag was complained of
	foreign  bool // the root, and so all within it, is of another format
}

type xmlAttr struct {
	name     string
	from, to int // in the arena
}

type xmlKind int

const (
	xmlEnd xmlKind = iota
	xmlStart
	xmlDone
)

// xmlHandler takes the elements of a file. In begin it may look at attributes and
// ask for the text; in end the text is there.
type xmlHandler interface {
	begin(x *xmlScanner)
	end(x *xmlScanner)
}

func newXML(t *text, complain func(int, string)) *xmlScanner {
	return &xmlScanner{t: t, complain: complain, names: map[string]string{},
		content: kept{max: maxText}, tag: kept{max: maxName}}
}

// each hands all elements to h; of a root that is none of roots, if there are any,
// it complains and passes it over. An error says, with its line, where the file stopped making sense.
func (x *xmlScanner) each(h xmlHandler, roots ...string) error {
	for {
		kind, err := x.next()
		switch {
		case err != nil:
			return err
		case kind == xmlStart:
			if x.depth() == 1 {
				x.foreign = false
				if len(roots) > 0 && !slices.Contains(roots, x.name) {
					x.reject(wrongRoot(x.name, roots))
				}
			}
			if !x.foreign {
				h.begin(x)
			}
		case kind == xmlEnd:
			if !x.foreign {
				h.end(x)
			}
			x.pop()
		default:
			return nil
		}
	}
}

// reject complains of the element that just began, and passes over the rest of the
// root that it is in.
func (x *xmlScanner) reject(why string) {
	x.foreign = true
	x.complain(x.line, why)
}

// want keeps the text of the element that just began, its descendants' too.
func (x *xmlScanner) want() {
	x.capture = len(x.stack)
	x.content.reset()
}

// text is what want kept of the element that ends.
func (x *xmlScanner) text() string {
	if x.capture != len(x.stack) {
		return ""
	}
	return string(x.content.b)
}

// depth of the current element; the root has 1.
func (x *xmlScanner) depth() int { return len(x.stack) }

// parent is the name of the element around the current one, "" for the root.
func (x *xmlScanner) parent() string {
	if len(x.stack) < 2 {
		return ""
	}
	return x.stack[len(x.stack)-2]
}

// attr is the value of an attribute of the element that just began, or "".
func (x *xmlScanner) attr(name string) string {
	for _, a := range x.attrs {
		if a.name == name {
			return string(x.arena.b[a.from:a.to])
		}
	}
	return ""
}

func (x *xmlScanner) pop() {
	if x.capture == len(x.stack) {
		x.capture = 0
	}
	x.stack = x.stack[:len(x.stack)-1]
}

// next goes on to the next tag. After xmlEnd the caller pops.
func (x *xmlScanner) next() (xmlKind, error) {
	for {
		if x.closing > 0 {
			x.closing--
			x.name = x.stack[len(x.stack)-1]
			return xmlEnd, nil
		}
		if !x.characters() {
			return x.finish()
		}
		x.line = x.t.line()
		switch c := x.t.peek(); {
		case c == '/':
			x.t.pos++
			if !x.endTag() {
				return x.finish()
			}
		case c == '!' || c == '?':
			x.t.pos++
			if ok := x.declaration(c); !ok {
				return x.finish()
			}
		case nameStart(c):
			if len(x.stack) == maxDepth {
				return xmlDone, fmt.Errorf("line %d: elements are nested more than %d deep", x.line, maxDepth)
			}
			if !x.startTag() {
				return x.finish()
			}
			return xmlStart, nil
		default: // a "<" that should have been escaped
			x.keep().add([]byte{'<'})
		}
	}
}

// finish is the end of the file: an error when elements are still open, or none
// ever was.
func (x *xmlScanner) finish() (xmlKind, error) {
	line := x.t.line()
	switch err := x.t.failure(); {
	case err != nil:
		return xmlDone, fmt.Errorf("line %d: %w", line, err)
	case len(x.stack) > 0:
		return xmlDone, fmt.Errorf("line %d: the file ends within <%s>; what comes before is kept", line, x.stack[len(x.stack)-1])
	case x.name == "":
		return xmlDone, fmt.Errorf("line %d: no XML element is in it", line)
	}
	return xmlDone, nil
}

// keep is where text goes now; nil = nowhere.
func (x *xmlScanner) keep() *kept {
	if x.capture == 0 {
		return nil
	}
	return &x.content
}

// characters takes the text up to the next "<", and that.
func (x *xmlScanner) characters() bool {
	k := x.keep()
	from := len(x.content.b)
	ok := x.t.until('<', k)
	if k != nil {
		k.b = append(k.b[:from], unescape(k.b[from:])...)
	}
	return ok
}

// declaration passes over a comment, a processing instruction or a document type,
// and keeps the text of a CDATA section.
func (x *xmlScanner) declaration(c byte) bool {
	if c == '?' {
		return x.t.untilSeq("?>", nil)
	}
	switch x.t.peek() {
	case '-':
		if x.t.literal("--") {
			return x.t.untilSeq("-->", nil)
		}
	case '[':
		if x.t.literal("[CDATA[") {
			return x.t.untilSeq("]]>", x.keep())
		}
	}
	return x.doctype()
}

// doctype skips to the end of a declaration: "[...]" may hold others, with quotes.
func (x *xmlScanner) doctype() bool {
	for depth := 1; depth > 0; {
		c, ok := x.t.next()
		switch {
		case !ok:
			return false
		case c == '<':
			if x.t.literal("!--") {
				if !x.t.untilSeq("-->", nil) {
					return false
				}
				continue
			}
			depth++
		case c == '>':
			depth--
		case c == '"' || c == '\'':
			if !x.t.until(c, nil) {
				return false
			}
		}
	}
	return true
}
