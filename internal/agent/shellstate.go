package agent

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

const (
	// stateMark ends each part of the saved state. It stands alone on a line, where
	// an assignment cannot be, since its name would be empty.
	stateMark      = "=sluice="
	statusVariable = "_sluice_status"
)

var errState = errors.New("incomplete state")

// parseState reads what dump wrote: the output of `set`, `export -p` and `pwd`
// of dash, bash in POSIX mode, busybox ash and their kin.
func parseState(data []byte) (state, error) {
	p := &stateParser{s: data}
	vars, err := p.section()
	if err != nil {
		return state{}, err
	}
	exports, err := p.section()
	if err != nil {
		return state{}, err
	}
	dir, ok := bytes.CutSuffix(p.s[p.i:], []byte("\n"+stateMark+"\n"))
	if !ok || len(dir) == 0 || dir[0] != '/' {
		return state{}, fmt.Errorf("%w: no working directory", errState)
	}
	st := state{dir: string(dir)}
	exported := map[string]bool{}
	for _, v := range exports {
		if !foreign(v.name, true) && !exported[v.name] {
			st.env = append(st.env, v.name+"="+v.value)
		}
		exported[v.name] = true
	}
	for _, v := range vars {
		if !exported[v.name] && !foreign(v.name, false) && (v.name != "IFS" || v.value != " \t\n") {
			st.plain = append(st.plain, v)
		}
	}
	return st, nil
}

// foreign says that a variable is the shell's own business and not handed on.
func foreign(name string, exported bool) bool {
	switch name {
	case "_", "PWD", "SHLVL", "PPID", "UID", "EUID", "GROUPS", "SHELLOPTS", "BASHOPTS", "LINENO",
		"RANDOM", "SRANDOM", "SECONDS", "EPOCHSECONDS", "EPOCHREALTIME", "DIRSTACK", "PIPESTATUS",
		"FUNCNAME", "HISTCMD", "OPTIND", "OPTERR", statusVariable:
		return true
	case "PS1", "PS2", "PS3", "PS4", "HOSTNAME", "HOSTTYPE", "MACHTYPE", "OSTYPE", "TERM", "OPTARG",
		"KSH_VERSION", "POSIXLY_CORRECT", "ENV", "BASH_ENV":
		return !exported
	}
	return strings.HasPrefix(name, "BASH") && name != "BASH_ENV"
}

// stateParser reads assignments in the quoting of shells.
type stateParser struct {
	s []byte
	i int
}

// section reads assignments up to the mark. What is not an assignment with a
// plain value (arrays, functions, names without a value) is passed over.
func (p *stateParser) section() ([]variable, error) {
	var out []variable
	mark := []byte(stateMark + "\n")
	for p.i < len(p.s) {
		if bytes.HasPrefix(p.s[p.i:], mark) {
			p.i += len(mark)
			return out, nil
		}
		p.declaration()
		name := p.name()
		if name == "" || p.i >= len(p.s) || p.s[p.i] != '=' {
			p.line()
			continue
		}
		p.i++
		if p.i < len(p.s) && p.s[p.i] == '(' {
			p.array()
			continue
		}
		value, err := p.word()
		if err != nil {
			return nil, err
		}
		out = append(out, variable{name, value})
		p.line()
	}
	return nil, fmt.Errorf("%w: no mark", errState)
}

// declaration passes over `export `, `declare -x ` and `typeset -x `.
func (p *stateParser) declaration() {
	for _, word := range []string{"export ", "declare ", "typeset "} {
		if bytes.HasPrefix(p.s[p.i:], []byte(word)) {
			p.i += len(word)
			for p.i < len(p.s) && p.s[p.i] == '-' {
				for p.i < len(p.s) && p.s[p.i] != ' ' && p.s[p.i] != '\n' {
					p.i++
				}
				if p.i < len(p.s) && p.s[p.i] == ' ' {
					p.i++
				}
			}
			return
		}
	}
}

func (p *stateParser) name() string {
	start := p.i
	for p.i < len(p.s) {
		c := p.s[p.i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || p.i == start) {
			break
		}
		p.i++
	}
	return string(p.s[start:p.i])
}

// line goes to the next line.
func (p *stateParser) line() {
	for p.i < len(p.s) {
		p.i++
		if p.s[p.i-1] == '\n' {
			return
		}
	}
}

// array passes over ([0]="a" [1]='b c'), which may hold quoted newlines.
func (p *stateParser) array() {
	for p.i < len(p.s) && p.s[p.i] != ')' {
		if c := p.s[p.i]; c == '(' || c == ' ' || c == '\n' {
			p.i++
			continue
		}
		start := p.i
		if _, err := p.element(); err != nil || p.i == start {
			p.i++
		}
	}
	p.line()
}

func (p *stateParser) word() (string, error) { return p.until("\n") }

func (p *stateParser) element() (string, error) { return p.until(" )\n") }

// until reads a word of quoted and unquoted pieces up to an unquoted byte of stop.
func (p *stateParser) until(stop string) (string, error) {
	var b strings.Builder
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch {
		case strings.IndexByte(stop, c) >= 0:
			return b.String(), nil
		case c == '\'':
			if !p.single(&b) {
				return "", fmt.Errorf("%w: open quote", errState)
			}
		case c == '"':
			if !p.double(&b) {
				return "", fmt.Errorf("%w: open quote", errState)
			}
		case c == '$' && p.i+1 < len(p.s) && p.s[p.i+1] == '\'':
			if !p.ansi(&b) {
				return "", fmt.Errorf("%w: open quote", errState)
			}
		case c == '\\' && p.i+1 < len(p.s):
			b.WriteByte(p.s[p.i+1])
			p.i += 2
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return "", fmt.Errorf("%w: cut off", errState)
}

func (p *stateParser) single(b *strings.Builder) bool {
	end := bytes.IndexByte(p.s[p.i+1:], '\'')
	if end < 0 {
		return false
	}
	b.Write(p.s[p.i+1 : p.i+1+end])
	p.i += end + 2
	return true
}

func (p *stateParser) double(b *strings.Builder) bool {
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return true
		case c == '\\' && p.i+1 < len(p.s) && strings.IndexByte("\"$`\\", p.s[p.i+1]) >= 0:
			p.i++
			b.WriteByte(p.s[p.i])
		default:
			b.WriteByte(c)
		}
	}
	return false
}

// ansi reads $'...' with the escapes that shells print there.
func (p *stateParser) ansi(b *strings.Builder) bool {
	for p.i += 2; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		if c == '\'' {
			p.i++
			return true
		}
		if c != '\\' || p.i+1 >= len(p.s) {
			b.WriteByte(c)
			continue
		}
		p.i++
		p.escape(b)
	}
	return false
}

// escape reads what follows a backslash and leaves i on its last byte.
func (p *stateParser) escape(b *strings.Builder) {
	c := p.s[p.i]
	if at := strings.IndexByte("abefnrtvE", c); at >= 0 {
		b.WriteByte("\a\b\x1b\f\n\r\t\v\x1b"[at])
		return
	}
	base, digits := 8, 3
	switch {
	case c == 'x':
		base, digits = 16, 2
		p.i++
	case c < '0' || c > '7':
		b.WriteByte(c)
		return
	}
	v := 0
	start := p.i
	for p.i < len(p.s) && p.i < start+digits {
		d := digit(p.s[p.i])
		if d < 0 || d >= base {
			break
		}
		v = v*base + d
		p.i++
	}
	p.i--
	b.WriteByte(byte(v))
}

// digit is the value of a digit up to f, or -1.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
