package report

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/sluice-ci/sluice/internal/ci"
)

func parse(t *testing.T, format, name, content string) ci.Report {
	t.Helper()
	r, err := Parse("g", format, name, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	doc := func(encoding string) string {
		return `<?xml version="1.0" encoding="` + encoding + `"?>` + "\n" +
			`<testsuite name="s"><testcase name="prüft ` + "\t" + `é"><failure message="Größe"/></testcase></testsuite>`
	}
	utf16 := func(e unicode.Endianness, bom unicode.BOMPolicy, s string) string {
		out, err := unicode.UTF16(e, bom).NewEncoder().String(s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	latin, err := charmap.ISO8859_1.NewEncoder().String(doc("ISO-8859-1"))
	if err != nil {
		t.Fatal(err)
	}
	cyrillic, err := charmap.Windows1251.NewEncoder().String(strings.NewReplacer("ü", "ж", "é", "я", "Größe", "Размер").Replace(doc("windows-1251")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, content, want, message, problem string }{
		{"plain", doc("utf-8"), "prüft \té", "Größe", ""},
		{"with a mark", "\xef\xbb\xbf" + doc("UTF-8"), "prüft \té", "Größe", ""},
		{"Latin-1", latin, "prüft \té", "Größe", ""},
		{"Windows-1251", cyrillic, "prжft \tя", "Размер", ""},
		{"UTF-16 LE with a mark", utf16(unicode.LittleEndian, unicode.UseBOM, doc("utf-16")), "prüft \té", "Größe", ""},
		{"UTF-16 BE with a mark", utf16(unicode.BigEndian, unicode.UseBOM, doc("utf-16")), "prüft \té", "Größe", ""},
		{"UTF-16 LE", utf16(unicode.LittleEndian, unicode.IgnoreBOM, doc("utf-16")), "prüft \té", "Größe", ""},
		{"UTF-16 BE", utf16(unicode.BigEndian, unicode.IgnoreBOM, doc("utf-16")), "prüft \té", "Größe", ""},
		{"UTF-8 that says UTF-16", doc("utf-16"), "prüft \té", "Größe", ""},
		{"unknown", doc("EBCDIC-7"), "prüft \té", "Größe", `x.xml:1: encoding "ebcdic-7" is not known`},
		{"bad UTF-8", `<testsuite><testcase name="a` + "\xff\xfe" + `b"><failure>x` + "\xc3" + `</failure></testcase></testsuite>`, "a\ufffd\ufffdb", "x\ufffd", ""},
		{"control characters", "<testsuite><testcase name=\"a\x00\x07b\"><failure>\x1b[1;31mred\x1b[0m\x9b \x08ok\r\n&#27;[Kend</failure></testcase></testsuite>", "ab", "red\ufffd ok\nend", ""},
	} {
		r := parse(t, "JUNITXML", "x.xml", c.content)
		if len(r.Cases) != 1 || r.Cases[0].Name != c.want || r.Cases[0].Message != c.message {
			t.Errorf("%s: got %+v %q, want name %q and message %q", c.name, r.Cases, r.Problems, c.want, c.message)
		}
		if c.problem == "" && len(r.Problems) > 0 || c.problem != "" && (len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0], c.problem)) {
			t.Errorf("%s: problems %q, want %q", c.name, r.Problems, c.problem)
		}
	}
}

func TestCaseLimit(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("<testsuite name='s'>")
	for i := range 2000 {
		switch {
		case i >= 1990:
			fmt.Fprintf(&b, "<testcase name='t%d' time='1'><failure>no</failure></testcase>", i)
		default:
			fmt.Fprintf(&b, "<testcase name='t%d' time='1'/>", i)
		}
	}
	b.WriteString("</testsuite>")
	r := parse(t, "JUNITXML", "x.xml", b.String())
	if !r.Truncated || len(r.Cases) != MaxCases || r.Status != Failed {
		t.Errorf("truncated %v, %d cases, %s; want a cut, failed report of %d", r.Truncated, len(r.Cases), r.Status, MaxCases)
	}
	want := ci.TestSummary{Total: 2000, Succeeded: 1990, Failed: 10, Duration: 2000 * time.Second}
	if r.Summary != want {
		t.Errorf("summary %+v, want %+v", r.Summary, want)
	}
	if got := r.Cases[489].Name + " " + r.Cases[490].Name + " " + r.Cases[499].Name; got != "t489 t1990 t1999" {
		t.Errorf("kept %s, want the first 490 that passed and then all that failed", got)
	}
	// More failures than fit.
	r = parse(t, "JUNITXML", "x.xml", "<testsuite><testcase name='ok'/>"+strings.Repeat("<testcase name='f'><error/></testcase>", 700)+"</testsuite>")
	if len(r.Cases) != MaxCases || slices.ContainsFunc(r.Cases, func(c ci.TestCase) bool { return c.Status != ci.TestError }) || r.Summary.Error != 700 {
		t.Errorf("%d cases of %+v; want %d failed ones only", len(r.Cases), r.Summary, MaxCases)
	}
}

func TestTextLimits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ö", 30_000)
	r := parse(t, "JUNITXML", "x.xml", `<testsuite name="`+long+`"><testcase classname="`+long+`" name="`+long+`"><failure message="`+long+`">`+long+`</failure></testcase></testsuite>`)
	c := r.Cases[0]
	for what, s := range map[string]string{"suite": c.Suite, "prefix": c.Prefix, "name": c.Name} {
		if utf8.RuneCountInString(s) != MaxTitle || strings.Trim(s, "ö") != "" {
			t.Errorf("%s has %d runes, want %d whole ones", what, utf8.RuneCountInString(s), MaxTitle)
		}
	}
	if utf8.RuneCountInString(c.Message) != MaxMessage || strings.Trim(c.Message, "ö") != "" {
		t.Errorf("message has %d runes, want %d", utf8.RuneCountInString(c.Message), MaxMessage)
	}
	// Deep nesting and many attributes end in a problem or are passed over.
	r = parse(t, "JUNITXML", "deep.xml", strings.Repeat("<testsuite>", 100_000))
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "nested") || r.Status != Incomplete {
		t.Errorf("deep nesting: %s %q", r.Status, r.Problems)
	}
	r = parse(t, "CUCUMBERJSON", "deep.json", strings.Repeat("[", 100_000))
	if len(r.Problems) != 1 || r.Status != Incomplete {
		t.Errorf("deep JSON: %s %q", r.Status, r.Problems)
	}
	r = parse(t, "JUNITXML", "attrs.xml", "<testsuite><testcase name='first'"+strings.Repeat(" a='b'", 100_000)+"/></testsuite>")
	if len(r.Cases) != 1 || r.Cases[0].Name != "first" || r.Status != Succeeded {
		t.Errorf("many attributes: %+v", r)
	}
	r = parse(t, "JUNITXML", "many.xml", "<testsuite>"+strings.Repeat("</a>", 10)+"</testsuite>")
	if len(r.Problems) != 1 {
		t.Errorf("ten wrong end tags give %d problems, want the first", len(r.Problems))
	}
}

// stream is head, n bytes of filler, and tail.
func stream(head, filler string, n int64, tail string) io.Reader {
	return io.MultiReader(strings.NewReader(head), io.LimitReader(&endless{filler: filler}, n), strings.NewReader(tail))
}

type endless struct {
	filler string
	at     int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.filler[e.at:])
	e.at = (e.at + n) % len(e.filler)
	return n, nil
}

// TestFlatMemory reads 100 MB (20 of some) of what a report does not need, and of what it
// needs only the beginning of. It is not parallel, since it counts allocations.
func TestFlatMemory(t *testing.T) {
	const size = 100 << 20
	noise := "line of output with <b>, &amp; and ]] in it\n"
	for _, c := range []struct{ name, format, head, filler, tail string }{
		{"output in CDATA", "JUNITXML", "<testsuite><testcase name='a'/><system-out><![CDATA[", noise, "]]></system-out></testsuite>"},
		{"output as text", "JUNITXML", "<testsuite><testcase name='a'/><system-out>", "a line\n", "</system-out></testsuite>"},
		{"a failure's text", "JUNITXML", "<testsuite><testcase name='a'><failure>", "trace &lt; line\n", "</failure></testcase></testsuite>"},
		{"an attribute", "JUNITXML", "<testsuite><testcase name='a' x='", "value ", "'/></testsuite>"},
		{"a comment", "JUNITXML", "<testsuite><testcase name='a'/><!--", "- -> -", "--></testsuite>"},
		{"one start tag", "JUNITXML", "<testsuite><testcase name='a' ", "x='1' ", "/></testsuite>"},
		{"a screenshot", "CUCUMBERJSON", `[{"name":"f","elements":[{"name":"a","after":[{"embeddings":[{"data":"`, "aGVsbG8=", `"}]}],"steps":[{"name":"s","result":{"status":"passed"}}]}]}]`},
		{"test output", "GOTESTJSON", `{"Action":"run","Package":"p","Test":"a"}` + "\n", `{"Action":"output","Package":"p","Test":"a","Output":"noise\n"}` + "\n", "\n" + `{"Action":"fail","Package":"p","Test":"a"}` + "\n"},
	} {
		n := int64(size)
		if testing.Short() || c.name != "output in CDATA" {
			n /= 5 // enough to tell; the whole takes long with the race detector
		}
		n -= n % int64(len(c.filler))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := Parse("g", c.format, "x", stream(c.head, c.filler, n, c.tail))
		runtime.ReadMemStats(&after)
		if err != nil || r.Summary.Total != 1 || len(r.Problems) != 0 || r.Cases[0].Name != "a" {
			t.Errorf("%s: %+v, %v; want the one case", c.name, r, err)
		}
		// What is held at once: the reader allocates in proportion to lines only
		// where lines are events, and lets go of them.
		if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 16<<20 {
			t.Errorf("%s: %d MB are held after %d MB", c.name, held>>20, n>>20)
		}
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 32<<20 {
			t.Errorf("%s: the heap grew by %d MB for %d MB", c.name, grown>>20, n>>20)
		}
	}
}

func TestSlowAndBrokenReaders(t *testing.T) {
	t.Parallel()
	const doc = "<testsuite name='s'>\n<testcase name='a'/>\n<testcase name='b&lt;'><failure><![CDATA[x]]]]></failure></testcase></testsuite>"
	whole := parse(t, "JUNITXML", "x", doc)
	for name, wrap := range map[string]func(io.Reader) io.Reader{"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data with the end": iotest.DataErrReader} {
		r, err := Parse("g", "JUNITXML", "x", wrap(strings.NewReader(doc)))
		if err != nil || fmt.Sprint(r) != fmt.Sprint(whole) {
			t.Errorf("%s at a time: got %+v, want %+v", name, r, whole)
		}
	}
	if whole.Cases[1].Name != "b<" || whole.Cases[1].Message != "x]]" {
		t.Errorf("got %+v", whole.Cases[1])
	}
	broken := io.MultiReader(strings.NewReader(doc[:45]), iotest.ErrReader(io.ErrUnexpectedEOF))
	r, err := Parse("g", "JUNITXML", "x", broken)
	if err != nil || len(r.Cases) != 1 || len(r.Problems) != 1 || r.Problems[0] != "x:3: unexpected EOF" || r.Status != Incomplete {
		t.Errorf("a reader that breaks: %+v, %v", r, err)
	}
	r, _ = Parse("g", "JUNITXML", "x", iotest.ErrReader(io.ErrClosedPipe))
	if r.Status != Incomplete || len(r.Problems) != 1 {
		t.Errorf("a reader that breaks at once: %+v", r)
	}
}

func TestProblemLimit(t *testing.T) {
	t.Parallel()
	b, err := NewBuilder("g", "JUNITXML")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 70 {
		b.Read(fmt.Sprintf("f%d.xml", i), bytes.NewReader(nil))
	}
	if r := b.Report(); len(r.Problems) != 51 || r.Problems[50] != "and 20 more problems" || len(r.Files) != 70 {
		t.Errorf("%d problems, the last %q", len(r.Problems), r.Problems[len(r.Problems)-1])
	}
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 0.5 ": 500 * time.Millisecond, "0.5s": 500 * time.Millisecond, "1e-05": 10 * time.Microsecond,
		"1,234.5": 1234500 * time.Millisecond, "1,234,567.5": 1234567500 * time.Millisecond, "1,234": 1234 * time.Second, "0,123": 123 * time.Millisecond,
		"1.234,5": 1234500 * time.Millisecond, "12,5": 12500 * time.Millisecond, "1,234,567": 1234567 * time.Second,
		"-1": 0, "NaN": 0, "Inf": 1<<63 - 1, "1e300": 1<<63 - 1, "abc": 0, ",": 0, "0.": 0,
	} {
		if got := seconds(in); got != want {
			t.Errorf("seconds(%q) = %v, want %v", in, got, want)
		}
	}
	for in, want := range map[string]time.Duration{"00:00:01.5": 1500 * time.Millisecond, "1.02:03:04": 26*time.Hour + 3*time.Minute + 4*time.Second, "1:2": 0, "a:b:c": 0} {
		if got := clock(in); got != want {
			t.Errorf("clock(%q) = %v, want %v", in, got, want)
		}
	}
}
