package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzRead gives any bytes to any format: no panic, a status, limits kept, and
// problems that point into the file.
func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatal("no seeds", err)
	}
	names := Formats()
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for i, name := range names {
			if name != formatOf(a) {
				continue
			}
			for _, file := range a.Files {
				if file.Name != goldenName {
					f.Add(uint8(i), file.Data)
				}
			}
		}
	}
	for i := range names {
		f.Add(uint8(i), []byte("\xff\xfe<\x00a\x00>\x00"))
		f.Add(uint8(i), []byte(`<?xml version="1.0" encoding="ISO-8859-1"?><a b='c`))
		f.Add(uint8(i), []byte(`[{"a":"\ud800\"","b":[1e999,-0,null]}]`))
	}
	where := regexp.MustCompile(`^x:(\d+): `)
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		name := names[int(which)%len(names)]
		r, err := Parse("g", name, "x", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != Succeeded && r.Status != Failed && r.Status != Incomplete {
			t.Errorf("status %q", r.Status)
		}
		if r.Status == Incomplete && len(r.Problems) == 0 {
			t.Error("incomplete, and no problem says why")
		}
		s := r.Summary
		if s.Total != s.Succeeded+s.Failed+s.Error+s.Skipped+s.Unknown || len(r.Cases) > MaxCases || len(r.Cases) < min(s.Total, MaxCases) || s.Duration < 0 {
			t.Errorf("%d cases of %+v", len(r.Cases), s)
		}
		for _, c := range r.Cases {
			if c.Name == "" || c.Duration < 0 || c.Line < 0 {
				t.Errorf("case %+v", c)
			}
			for _, text := range []string{c.Name, c.Suite, c.Prefix, c.Message, c.File} {
				if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\x07") || utf8.RuneCountInString(text) > MaxMessage {
					t.Errorf("text %q is not clean", text)
				}
			}
		}
		c := r.Coverage
		if c.LinesCovered < 0 || c.LinesMissed < 0 || c.BranchesCovered < 0 || c.BranchesMissed < 0 {
			t.Errorf("coverage %+v", c)
		}
		// In UTF-16 a line feed is a byte 10 too, so this holds for it as well.
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, p := range r.Problems {
			m := where.FindStringSubmatch(p)
			if m == nil {
				if strings.HasPrefix(p, "and ") {
					continue
				}
				t.Fatalf("problem %q has no position", p)
			}
			if n, err := strconv.Atoi(m[1]); err != nil || n < 1 || n > lines {
				t.Errorf("problem %q is not in a file of %d lines", p, lines)
			}
		}
	})
}

// collector writes down what a scanner sees, in the form that encoding/xml gives.
type collector struct {
	out strings.Builder
}

func (c *collector) begin(x *xmlScanner) {
	c.out.WriteString("<" + x.name)
	for _, a := range x.attrs {
		c.out.WriteString(" " + a.name + "=" + strconv.Quote(string(x.arena.b[a.from:a.to])))
	}
	c.out.WriteString(">")
	if x.depth() == 1 {
		x.want()
	}
}

func (c *collector) end(x *xmlScanner) {
	if x.depth() == 1 {
		c.out.WriteString(strconv.Quote(x.text()))
	}
	c.out.WriteString("</" + x.name + ">")
}

// FuzzXML compares the scanner with encoding/xml on what that one accepts.
func FuzzXML(f *testing.F) {
	for _, s := range []string{
		`<a b="c&lt;" d='&#x41;'><b/><c>t</c></a>`, "<a><![CDATA[x]]]]><b></b></a>", "<!DOCTYPE a [<!ENTITY x \"y>\">]><a/>",
		"<?xml version='1.0'?><!-- - -- > --><a x:y='1'></a>", "<p:a xmlns:p='u'><p:b/></p:a>", "<a>\r\n<b  c = 'd' /></a >",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		if !utf8.ValidString(doc) || len(doc) > 1<<14 {
			t.Skip("encoding/xml wants UTF-8")
		}
		doc = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(doc)
		want, ok := viaStandard(doc)
		if !ok {
			t.Skip("not well-formed")
		}
		var c collector
		x := newXML(&text{buf: []byte(doc), end: len(doc), err: io.EOF}, func(line int, s string) { t.Errorf("line %d: %s", line, s) })
		if err := x.each(&c); err != nil {
			t.Errorf("%q: %v", doc, err)
		}
		if got := c.out.String(); got != want {
			t.Errorf("%q: got %s, want %s", doc, got, want)
		}
	})
}

// viaStandard is what encoding/xml sees; false for what it does not accept and for
// what the two are meant to see differently (names with colons at odd places).
func viaStandard(doc string) (string, bool) {
	d := xml.NewDecoder(strings.NewReader(doc))
	var out strings.Builder
	var open []string
	roots := 0
	var text []byte
	plainName := regexp.MustCompile(`^([A-Za-z_][\w.-]*:)?[A-Za-z_][\w.-]*$`)
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			return out.String(), len(open) == 0 && roots > 0
		}
		if err != nil {
			return "", false
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if len(open) == 0 {
				text = nil
			}
			open = append(open, e.Name.Local)
			roots++
			out.WriteString("<" + e.Name.Local)
			if !plainName.MatchString(e.Name.Local) || len(e.Name.Local) > 100 || len(e.Attr) > 100 {
				return "", false
			}
			for _, a := range e.Attr {
				if !plainName.MatchString(a.Name.Local) || len(a.Value) > 1000 {
					return "", false
				}
				out.WriteString(" " + a.Name.Local + "=" + strconv.Quote(a.Value))
			}
			out.WriteString(">")
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != e.Name.Local {
				return "", false
			}
			open = open[:len(open)-1]
			if len(open) == 0 {
				out.WriteString(strconv.Quote(string(text)))
			}
			out.WriteString("</" + e.Name.Local + ">")
		case xml.CharData:
			text = append(text, e...)
		case xml.Directive:
			if !strings.HasPrefix(string(e), "DOCTYPE ") || strings.Contains(string(e), "<!--") {
				return "", false
			}
		}
	}
}
