package main

import (
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"
)

// harmless passes on to a terminal what others printed: text, its colours and
// what progress bars use of a line. All that would do something else to the
// terminal (move about, set its title or keys, ask it to answer) is left out.
type harmless struct {
	w       io.Writer
	held    []byte // the beginning of something whose end is still to come
	skip    int    // what is being left out: stringSequence or nothing
	colours bool   // set, and not reset
}

// mostSequence is how long a control sequence may be that is passed on.
const mostSequence = 64

const (
	nothing = iota
	stringSequence
	stringEscape // an ESC within it, which may be the beginning of its end
)

// harmlessTo makes what is written to a terminal harmless; files get every byte.
// The answer's Close ends colours.
func harmlessTo(w io.Writer) io.WriteCloser {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &harmless{w: w}
	}
	return asItIs{w}
}

type asItIs struct{ io.Writer }

func (asItIs) Close() error { return nil }

// Write passes on what is harmless of p.
func (h *harmless) Write(p []byte) (int, error) {
	text := p
	if len(h.held) > 0 {
		text = append(h.held, p...)
		h.held = nil
	}
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		n, keep := h.next(text)
		if n == 0 { // its end is still to come
			h.held = append([]byte(nil), text...)
			break
		}
		if keep {
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	if _, err := h.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// next says how long the first thing in text is, 0 when that is not known yet,
// and whether it is harmless.
func (h *harmless) next(text []byte) (n int, keep bool) {
	c := text[0]
	switch {
	case h.skip != nothing:
		switch {
		case c == 0x07 || c == '\n' || h.skip == stringEscape && c == '\\': // a line end as well, so that not all that follows goes
			h.skip = nothing
			return 1, c == '\n'
		case c == 0x1b:
			h.skip = stringEscape
		default:
			h.skip = stringSequence
		}
		return 1, false
	case c == 0x1b:
		return h.escape(text)
	case c == '\n' || c == '\t' || c == '\r':
		return 1, true
	case c < ' ' || c == 0x7f:
		return 1, false
	case c < utf8.RuneSelf:
		return 1, true
	}
	if !utf8.FullRune(text) {
		return 0, false
	}
	r, n := utf8.DecodeRune(text)
	return n, r >= 0xa0 && (r != utf8.RuneError || n > 1)
}

// escape looks at a control sequence. Colours (SGR) and clearing within a line
// (EL) are harmless.
func (h *harmless) escape(text []byte) (n int, keep bool) {
	if len(text) < 2 {
		return 0, false
	}
	switch text[1] {
	case '[':
	case ']', 'P', '^', '_', 'X':
		h.skip = stringSequence
		return 2, false
	default:
		return 1, false // the ESC goes; what follows is a letter then
	}
	plain := true // nothing but numbers
	for i := 2; i < min(len(text), mostSequence); i++ {
		c := text[i]
		switch {
		case c >= '0' && c <= ';':
		case c >= ' ' && c <= '?':
			plain = false
		case c >= 0x40 && c <= 0x7e:
			keep = plain && (c == 'm' || c == 'K')
			if keep && c == 'm' {
				h.colours = i > 2 && string(text[2:i]) != "0"
			}
			return i + 1, keep
		default:
			return i, false
		}
	}
	if len(text) >= mostSequence {
		return 1, false
	}
	return 0, false
}

// Close ends colours that were left on.
func (h *harmless) Close() error {
	if !h.colours {
		return nil
	}
	_, err := io.WriteString(h.w, "\x1b[0m")
	return err
}
