package report

import "strings"

// simpleCov reads the JSON of Ruby's SimpleCov: .resultset.json, with one set of
// results for each command that was run, and coverage.json.
type simpleCov struct {
	f     *file
	j     *jsonScanner
	found bool // coverage was found, even if of no file
	rates bool // only percentages were found
}

func readSimpleCov(f *file) error {
	s := &simpleCov{f: f, j: newJSON(f.t)}
	if s.j.kind() != '{' {
		return s.j.wrong("an object, as SimpleCov's .resultset.json or coverage.json has")
	}
	err := s.j.members(func(key string) error {
		if key == "coverage" { // coverage.json
			return s.files()
		}
		if s.j.kind() != '{' {
			return s.j.skip()
		}
		return s.j.members(func(inner string) error {
			switch {
			case inner == "coverage": // .resultset.json, below the command's name
				return s.files()
			case key == "result": // .last_run.json
				s.rates = true
			}
			return s.j.skip()
		})
	})
	if err == nil {
		err = s.j.done()
	}
	if err == nil && !s.found {
		if f.spare = s.rates; f.spare {
			f.note(1, "it has only percentages; take .resultset.json or coverage.json from the same directory")
			return nil
		}
		f.bad(1, "no coverage is in it; want SimpleCov's .resultset.json or coverage.json")
	}
	return err
}

func (s *simpleCov) files() error {
	s.found = true
	return s.j.members(func(path string) error {
		src := s.f.b.cover.source(slashed(path))
		if s.j.kind() == '[' { // before SimpleCov 0.18
			return s.lines(src)
		}
		return s.j.members(func(key string) error {
			switch key {
			case "lines":
				return s.lines(src)
			case "branches":
				return s.branches(src)
			}
			return s.j.skip()
		})
	})
}

// lines takes one value a line: null or "ignored" for no code, else the hits.
func (s *simpleCov) lines(src *source) error {
	n := 0
	return s.j.elements(func() error {
		n++
		if s.j.kind() != '0' {
			return s.j.skip()
		}
		hits, err := s.j.word()
		s.f.b.cover.line(src, n, positive(hits))
		return err
	})
}

// branches: {"[:if, 0, 3, …]": {"[:then, 1, 4, …]": 1}} in the result set, and a
// list of {"coverage": 1} in coverage.json.
func (s *simpleCov) branches(src *source) error {
	covered, total := 0, 0
	add := func() error {
		hits, err := s.j.number()
		if err == nil && strings.Trim(hits, "0123456789") == "" && hits != "" {
			total++
			if positive(hits) {
				covered++
			}
		}
		return err
	}
	var err error
	if s.j.kind() == '[' {
		err = s.j.elements(func() error {
			return s.j.members(func(key string) error {
				if key == "coverage" {
					return add()
				}
				return s.j.skip()
			})
		})
	} else {
		err = s.j.members(func(string) error {
			return s.j.members(func(string) error { return add() })
		})
	}
	src.branchTotals(covered, total-covered)
	return err
}
