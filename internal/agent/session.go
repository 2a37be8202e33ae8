package agent

import (
	"slices"
	"strings"
	"sync"
)

// variable is a shell variable with its plain value.
type variable struct{ name, value string }

// state is what a script hands to the next of its session: where it stood and
// what it had set. Functions, aliases, options, traps and arrays are not part of
// it, as on CodeBuild.
type state struct {
	dir   string
	env   []string   // exported, NAME=VALUE
	plain []variable // not exported
}

// sessions is the last state of each session.
type sessions struct {
	mu     sync.Mutex
	byName map[string]state
}

func newSessions() *sessions { return &sessions{byName: map[string]state{}} }

func (s *sessions) get(name string) (state, bool) {
	if name == "" {
		return state{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.byName[name]
	return st, ok
}

// begin sets the state of a session that has none yet.
func (s *sessions) begin(name string, st state) {
	if name == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byName[name]; !ok {
		s.byName[name] = st
	}
}

func (s *sessions) set(name string, st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[name] = st
}

// merge lays lists of NAME=VALUE over each other; later wins, the place of the
// first stays.
func merge(lists ...[]string) []string {
	var out []string
	at := map[string]int{}
	for _, list := range lists {
		for _, kv := range list {
			name, _, ok := strings.Cut(kv, "=")
			if !ok || name == "" {
				continue
			}
			if i, seen := at[name]; seen {
				out[i] = kv
				continue
			}
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return out
}

// without drops the variables that env sets.
func without(vars []variable, env []string) []variable {
	set := map[string]bool{}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		set[name] = true
	}
	return slices.DeleteFunc(slices.Clone(vars), func(v variable) bool { return set[v.name] })
}

// unnameable are the entries whose names are not those of shell variables.
func unnameable(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		p := stateParser{s: []byte(name)}
		if p.name() != name {
			out = append(out, kv)
		}
	}
	return out
}

func lookup(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// assignments is a script that sets the variables.
func assignments(vars []variable) string {
	var b strings.Builder
	for _, v := range vars {
		b.WriteString(v.name)
		b.WriteByte('=')
		b.WriteString(quote(v.value))
		b.WriteByte('\n')
	}
	return b.String()
}

// quote makes one word of any text, for every POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
