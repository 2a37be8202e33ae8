package report

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// BenchmarkRead reads ~10 MB of each format, made of the golden file's own lines.
func BenchmarkRead(b *testing.B) {
	var junit strings.Builder
	junit.WriteString("<testsuites><testsuite name='s'>")
	for i := range 80_000 {
		fmt.Fprintf(&junit, "<testcase classname=\"com.example.Cart%d\" name=\"adds %d\" time=\"0.0%d\"/>\n", i%100, i, i%10)
		if i%20 == 0 {
			junit.WriteString("<testcase name='x'><failure message='expected &lt;1>'>" + strings.Repeat("\tat com.example.Cart.add(Cart.java:12)\n", 20) + "</failure></testcase>\n")
		}
	}
	junit.WriteString("</testsuite></testsuites>")
	docs := map[string]string{
		"JUNITXML": junit.String(),
		"JUNITXML/output": "<testsuite><testcase name='a'/><system-out><![CDATA[" + strings.Repeat("a line of output of a test\n", 400_000) +
			"]]></system-out></testsuite>",
		"COBERTURAXML": "<coverage><packages><package><classes>" + repeat(200, func(i int) string {
			return fmt.Sprintf("<class filename='f%d.py'><lines>", i) + repeat(1000, func(n int) string { return fmt.Sprintf("<line number=\"%d\" hits=\"%d\"/>\n", n+1, n%3) }) + "</lines></class>"
		}) + "</classes></package></packages></coverage>",
		"LCOV": repeat(500, func(i int) string {
			return fmt.Sprintf("SF:f%d.c\n", i) + repeat(1000, func(n int) string { return fmt.Sprintf("DA:%d,%d\n", n+1, n%3) }) + "end_of_record\n"
		}),
		"GOTESTJSON": repeat(60_000, func(i int) string {
			return fmt.Sprintf("{\"Time\":\"2026-01-02T03:04:05Z\",\"Action\":\"output\",\"Package\":\"p\",\"Test\":\"T%d\",\"Output\":\"x\\n\"}\n", i) +
				fmt.Sprintf("{\"Time\":\"2026-01-02T03:04:05Z\",\"Action\":\"pass\",\"Package\":\"p\",\"Test\":\"T%d\",\"Elapsed\":0.1}\n", i)
		}),
	}
	a, err := txtar.ParseFile(filepath.Join("testdata", "cucumber.txtar"))
	if err != nil {
		b.Fatal(err)
	}
	feature := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(a.Files[0].Data)), "["), "]")
	docs["CUCUMBERJSON"] = "[" + strings.Repeat(feature+",", 3000) + feature + "]"
	for name, doc := range docs {
		format, _, _ := strings.Cut(name, "/")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := Parse("g", format, "x", strings.NewReader(doc))
				if err != nil || len(r.Problems) > 0 {
					b.Fatal(err, r.Problems)
				}
			}
		})
	}
}

func repeat(n int, f func(int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(i))
	}
	return b.String()
}
