package report

import (
	"path"
	"strings"
)

// cobertura reads the XML of Cobertura, coverage.py, coverlet, gcovr and others.
// Lines are listed for each method and again for its class: the same line counts
// once.
type cobertura struct {
	f   *file
	src *source
}

func readCobertura(f *file) error { return newXML(f.t, f.bad).each(&cobertura{f: f}, "coverage") }

func (c *cobertura) begin(x *xmlScanner) {
	switch x.name {
	case "project":
		if x.depth() == 2 {
			x.reject("this is a Clover report; set file-format: CLOVERXML")
		}
	case "class":
		c.src = c.f.b.cover.source(slashed(x.attr("filename")))
	case "line":
		if c.src == nil || x.parent() != "lines" {
			return
		}
		n := count(x.attr("number"))
		c.f.b.cover.line(c.src, n, positive(x.attr("hits")))
		if x.attr("branch") == "true" || x.attr("branch") == "True" {
			covered, total := condition(x.attr("condition-coverage"))
			c.f.b.cover.branches(c.src, n, covered, total)
		}
	}
}

func (c *cobertura) end(x *xmlScanner) {
	if x.name == "class" {
		c.src = nil
	}
}

// condition reads "50% (1/2)".
func condition(s string) (covered, total int) {
	_, s, _ = strings.Cut(s, "(")
	s, _, _ = strings.Cut(s, ")")
	a, b, _ := strings.Cut(s, "/")
	covered, total = count(a), count(b)
	return min(covered, total), total
}

// positive says whether a count of hits is one; it may be larger than an int or
// have a fraction.
func positive(s string) bool { return strings.Trim(s, "0.,- \t") != "" && !strings.HasPrefix(s, "-") }

func slashed(p string) string { return strings.ReplaceAll(p, `\`, "/") }

// clover reads the XML of OpenClover, PHPUnit and Istanbul. They disagree on what
// truecount and falsecount mean, so branches come from the metrics of each file
// where it has some.
type clover struct {
	f   *file
	src *source
}

func readClover(f *file) error { return newXML(f.t, f.bad).each(&clover{f: f}, "coverage") }

func (c *clover) begin(x *xmlScanner) {
	cov := c.f.b.cover
	switch x.name {
	case "packages":
		x.reject("this is a Cobertura report; set file-format: COBERTURAXML")
	case "file":
		name := x.attr("path") // OpenClover and Istanbul: name is only the last part
		if name == "" {
			name = x.attr("name")
		}
		c.src = cov.source(slashed(name))
	case "line":
		if c.src == nil || x.attr("type") == "method" {
			return
		}
		n := count(x.attr("num"))
		if x.attr("type") != "cond" {
			cov.line(c.src, n, positive(x.attr("count")))
			return
		}
		yes, no := positive(x.attr("truecount")), positive(x.attr("falsecount"))
		cov.line(c.src, n, yes || no || positive(x.attr("count")))
		covered := 0
		for _, ran := range []bool{yes, no} {
			if ran {
				covered++
			}
		}
		cov.branches(c.src, n, covered, 2)
	case "metrics":
		if c.src == nil || x.parent() != "file" {
			return
		}
		all, covered := count(x.attr("conditionals")), count(x.attr("coveredconditionals"))
		covered = min(covered, all)
		c.src.branchTotals(covered, all-covered)
	}
}

func (c *clover) end(x *xmlScanner) {
	if x.name == "file" {
		c.src = nil
	}
}

// jacoco reads JaCoCo's XML: the lines of each source file, or its counters where
// classes were compiled without line numbers.
type jacoco struct {
	f      *file
	groups []string // the path of each open group, no longer than what is kept of it
	pkg    string
	src    *source
}

func readJaCoCo(f *file) error { return newXML(f.t, f.bad).each(&jacoco{f: f}, "report") }

func (j *jacoco) begin(x *xmlScanner) {
	cov := j.f.b.cover
	switch x.name {
	case "group":
		j.groups = append(j.groups, clean(path.Join(j.group(), x.attr("name")), MaxTitle))
	case "package":
		j.pkg = x.attr("name")
	case "sourcefile":
		j.src = cov.source(path.Join(j.group(), j.pkg, x.attr("name")))
	case "line":
		if j.src == nil || x.parent() != "sourcefile" {
			return
		}
		n := count(x.attr("nr"))
		cov.line(j.src, n, positive(x.attr("ci")))
		covered, missed := count(x.attr("cb")), count(x.attr("mb"))
		cov.branches(j.src, n, covered, covered+missed)
	case "counter":
		if j.src == nil || x.parent() != "sourcefile" || len(j.src.pages) > 0 {
			return
		}
		covered, missed := count(x.attr("covered")), count(x.attr("missed"))
		switch x.attr("type") {
		case "LINE":
			j.src.lineTotals(covered, missed)
		case "BRANCH":
			j.src.branchTotals(covered, missed)
		}
	}
}

func (j *jacoco) group() string {
	if len(j.groups) == 0 {
		return ""
	}
	return j.groups[len(j.groups)-1]
}

func (j *jacoco) end(x *xmlScanner) {
	switch x.name {
	case "sourcefile":
		j.src = nil
	case "group":
		j.groups = j.groups[:max(0, len(j.groups)-1)]
	}
}
