package main

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// rule allows skips: of tests whose package and name match its two globs. In a
// test's name a * also takes the slashes of subtests.
type rule struct{ pkg, test, why string }

// readRules reads lines "package test: why". Empty lines and those that begin
// with # are left out; a line without a reason is refused.
func readRules(r io.Reader) ([]rule, error) {
	var all []rule
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		globs, why, _ := strings.Cut(line, ": ")
		f := strings.Fields(globs)
		if len(f) != 2 || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("line %d of the allowed skips: want \"package test: why\", got %q", n, line)
		}
		all = append(all, rule{f[0], f[1], strings.TrimSpace(why)})
	}
	return all, s.Err()
}

func (r rule) allows(pkg, test string) bool {
	if ok, _ := path.Match(r.pkg, pkg); !ok && !strings.HasSuffix(pkg, "/"+r.pkg) {
		return false
	}
	flat := strings.NewReplacer("/", "\x00")
	ok, _ := path.Match(flat.Replace(r.test), flat.Replace(test))
	return ok
}
