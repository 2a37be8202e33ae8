package buildspec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// maxText bounds one definition. CodeBuild's own limit is far below.
const maxText = 1 << 20

// parse turns text into the root node of its first document. Without a root,
// the notes say why.
func parse(ns *notes, path string, text []byte) (*yaml.Node, []int) {
	if len(text) > maxText {
		ns.add(ci.Pos{File: path}, ci.Error, fmt.Sprintf("the file has %d bytes, and a buildspec may have %d: move long scripts into files of their own", len(text), maxText))
		return nil, nil
	}
	text = toUTF8(text)
	widths := lineWidths(text)
	if !readable(ns, path, text) || isTemplate(ns, path, text) {
		return nil, nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		ns.add(ci.Pos{File: path}, ci.Error, "the file cannot be read as YAML: "+err.Error())
		return nil, nil
	}
	var doc, more yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		ns.add(ci.Pos{File: path, Line: 1, Col: 1}, ci.Error, "wrong number of container tags, expected 1: the buildspec is empty; it begins with \"version: 0.2\" and has \"phases:\"")
		return nil, nil
	} else if err != nil {
		ns.syntax(path, text, widths, err)
		return nil, nil
	}
	// CodeBuild reads the first document and never looks at what follows.
	if err := loader.Load(&more); err == nil && len(more.Content) > 0 {
		ns.add(clamp(ci.Pos{File: path, Line: more.Line, Col: more.Column}, widths), ci.Warning, "only the first YAML document of a buildspec is read: what follows this \"---\" has no effect")
	}
	return doc.Content[0], widths
}

// toUTF8 takes off a byte order mark and converts UTF-16, which Windows editors write.
func toUTF8(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte{0xEF, 0xBB, 0xBF}):
		return text[3:]
	case bytes.HasPrefix(text, []byte{0xFF, 0xFE}):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte{0xFE, 0xFF}):
		order = binary.BigEndian
	default:
		return text
	}
	units := make([]uint16, 0, len(text)/2)
	for i := 2; i+1 < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	return []byte(string(utf16.Decode(units)))
}

// lineWidths counts the characters of each line, to keep positions in the file.
func lineWidths(text []byte) []int {
	lines := bytes.Split(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"))
	widths := make([]int, len(lines))
	for i, l := range lines {
		widths[i] = utf8.RuneCount(l)
	}
	return widths
}

// readable finds what no YAML reader takes, with its place, which the YAML
// library does not tell.
func readable(ns *notes, path string, text []byte) bool {
	line, col := 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		pos := ci.Pos{File: path, Line: line, Col: col}
		switch {
		case r == utf8.RuneError && size == 1:
			ns.add(pos, ci.Error, fmt.Sprintf("byte 0x%02x is not UTF-8: save the file as UTF-8 text", text[i]))
			return false
		case r == '\n':
			line, col = line+1, 0
		case r < 0x20 && r != '\t' && r != '\r', r == 0xFFFE, r == 0xFFFF:
			ns.add(pos, ci.Error, fmt.Sprintf("control characters are not allowed: U+%04X: remove it", r))
			return false
		}
		col++
		i += size
	}
	return true
}

// isTemplate refuses what must be rendered first: its braces often are valid
// YAML, so that it would compile to nonsense.
func isTemplate(ns *notes, path string, text []byte) bool {
	for i, line := range strings.Split(string(text), "\n") {
		at := strings.Index(line, "{{")
		if at < 0 || !strings.HasPrefix(strings.TrimLeft(line[at+2:], " -"), "cookiecutter.") {
			continue
		}
		pos := ci.Pos{File: path, Line: i + 1, Col: utf8.RuneCountInString(line[:at]) + 1}
		ns.add(pos, ci.Error, "this is a cookiecutter template, not a buildspec: render it with cookiecutter and build the result")
		return true
	}
	return false
}

// syntax reports what the YAML library refused, in the words CodeBuild uses.
func (ns *notes) syntax(path string, text []byte, widths []int, err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		ns.add(ci.Pos{File: path}, ci.Error, "the file cannot be read as YAML: "+err.Error())
		return
	}
	pos := clamp(ci.Pos{File: path, Line: le.Mark.Line, Col: le.Mark.Column}, widths)
	msg := le.Message
	if pos.Line > 0 {
		msg += fmt.Sprintf(" at line %d", pos.Line)
	}
	if le.ContextMsg != "" && le.ContextMark.Line > 0 && le.ContextMark.Line != pos.Line {
		msg += fmt.Sprintf(" (%s that began at line %d)", le.ContextMsg, le.ContextMark.Line)
	}
	if hint := syntaxHint(le.Message, lineAt(text, pos.Line), pos.Col); hint != "" {
		msg += ": " + hint
	}
	ns.add(pos, ci.Error, msg)
}

func lineAt(text []byte, line int) string {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return strings.TrimSuffix(lines[line-1], "\r")
}

// syntaxHint says what to do about the mistakes that people make.
func syntaxHint(message, line string, col int) string {
	runes := []rune(line)
	at := ""
	if col >= 1 && col <= len(runes) {
		at = string(runes[col-1])
	}
	switch {
	case strings.Contains(line, "{{") || strings.Contains(line, "{%"):
		return "this looks like a template: render it first, or put the whole text in quotes"
	case at == "\t" || strings.HasPrefix(line, "\t"):
		return "YAML is indented with spaces, and this line has a tab: replace it"
	case at == "@" || at == "`" || at == "%":
		return "a text that begins with " + at + " must be in quotes"
	case strings.Contains(message, "mapping values are not allowed"):
		return "the text holds \": \", which YAML reads as a key: put the whole text in quotes"
	case strings.Contains(message, "did not find expected key"), strings.Contains(message, "could not find expected"):
		return "check the indentation and the quotes of this line and of the one before"
	case strings.Contains(message, "did not find expected ',' or"), strings.Contains(message, "expected '-' indicator"):
		return "a text that begins with [ or { must be in quotes"
	case strings.Contains(message, "found unexpected end of stream"):
		return "a quote or bracket was opened and never closed"
	case strings.Contains(message, "unknown anchor"):
		return "a text that begins with * must be in quotes"
	}
	return ""
}

// clamp keeps a position inside the text: YAML marks may stand behind its end.
func clamp(p ci.Pos, widths []int) ci.Pos {
	if p.Line > len(widths) {
		p.Line = len(widths)
		p.Col = widths[p.Line-1] + 1
	}
	if p.Line > 0 && p.Col > widths[p.Line-1]+1 {
		p.Col = widths[p.Line-1] + 1
	}
	return p
}
