package report

import (
	"io"
	"strings"
	"testing"
)

// TestTRXIDs: what is remembered of tests until the end does not grow with their ids.
func TestTRXIDs(t *testing.T) {
	t.Parallel()
	doc := `<TestRun><UnitTest id="` + strings.Repeat("i", maxText) + `"><TestMethod className="` + strings.Repeat("c", maxText) + `"/></UnitTest></TestRun>`
	h := &trx{classes: map[string]string{}}
	x := newXML(&text{buf: []byte(doc), end: len(doc), err: io.EOF}, func(line int, s string) { t.Errorf("line %d: %s", line, s) })
	if err := x.each(h, "TestRun"); err != nil {
		t.Fatal(err)
	}
	for id, class := range h.classes {
		if len(id) > maxName || len(class) > MaxTitle {
			t.Errorf("%d bytes of an id and %d of a class are remembered", len(id), len(class))
		}
	}
	if len(h.classes) != 1 {
		t.Errorf("%d classes, want 1", len(h.classes))
	}
}
