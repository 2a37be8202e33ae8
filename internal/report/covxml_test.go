package report

import (
	"runtime"
	"strings"
	"testing"
)

// TestJaCoCoGroups: groups within groups cost no more than the path that is
// kept. It is not parallel, since it counts allocations.
func TestJaCoCoGroups(t *testing.T) {
	const deep = 900
	file := `<sourcefile name="A.java"><line nr="1" ci="1"/></sourcefile>`
	doc := "<report>" + strings.Repeat(`<group name="`+strings.Repeat("g", MaxTitle)+`">`, deep) + strings.Repeat(file, 100) + strings.Repeat("</group>", deep) +
		`<group name="b"><group name="c"><package name="p">` + file + "</package></group></group></report>"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := parse(t, "JACOCOXML", "x.xml", doc)
	runtime.ReadMemStats(&after)
	if len(r.Sources) != 2 || len(r.Sources[1].Path) != MaxTitle || r.Sources[0].Path != "b/c/p/A.java" {
		t.Errorf("sources %.200v", r.Sources)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
		t.Errorf("%d MB were allocated for a file of %d KB", took>>20, len(doc)>>10)
	}
}
