package logs

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// MinSecret is the length from which a secret value is masked. Shorter values
// would blot out ordinary words and digits and give themselves away by it; who
// uses one should be warned (see Maskable).
const MinSecret = 4

// awsKeyLen is the length of an AWS access key id: AKIA or ASIA and 16 more.
const awsKeyLen = 20

// Maskable says whether all of a secret value is masked in logs. False for
// values, or lines of a value, that are shorter than MinSecret; blank lines do
// not count.
func Maskable(value string) bool {
	seen := false
	for line := range strings.FieldsFuncSeq(value, isLineBreak) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if len(line) < MinSecret {
			return false
		}
		seen = true
	}
	return seen
}

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }

// variants lists the texts to look for so that a value is found as it is, with
// the line breaks of the other kind (a terminal turns LF into CR LF), without
// the white space around it (a shell drops it), and line by line.
func variants(value string) []string {
	value = strings.TrimRight(value, "\r\n")
	out := []string{value, strings.TrimSpace(value)}
	if !strings.ContainsAny(value, "\r\n") {
		return out
	}
	lf := strings.ReplaceAll(value, "\r\n", "\n")
	out = append(out, lf, strings.ReplaceAll(lf, "\n", "\r\n"))
	for line := range strings.FieldsFuncSeq(value, isLineBreak) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// matcher finds secrets: an Aho-Corasick automaton for the exact values, a
// shift-and machine for AWS access key ids, and in front of both a filter that
// passes over text in which nothing can begin. It does not change once made, so
// any number of maskers may share it.
type matcher struct {
	pairs [1024]uint64 // bit set of the byte pairs in the first four bytes of any pattern
	heads [1024]uint64 // bit set of the hashes of the first four bytes
	root  [256]int32
	nodes []node
}

type node struct {
	key  byte  // the first edge, kept here as most nodes have just one
	to   int32 // 0 = no edge
	more []edge
	fail int32
	out  int32 // length of the longest pattern that ends here; 0 = none
	hold int32 // length of the longest text ending here that a pattern continues
}

type edge struct {
	key byte
	to  int32
}

// newMatcher prepares the search for the secrets and for AWS access key ids.
func newMatcher(secrets []string) *matcher {
	m := &matcher{nodes: make([]node, 1)}
	for _, s := range secrets {
		for _, v := range variants(s) {
			if len(v) >= MinSecret {
				m.add(v)
			}
		}
	}
	m.filter("AKIA")
	m.filter("ASIA")
	m.link()
	return m
}

func (m *matcher) add(pattern string) {
	m.filter(pattern)
	at := int32(0)
	for i := range len(pattern) {
		to := m.child(at, pattern[i])
		if to == 0 {
			to = int32(len(m.nodes))
			m.nodes = append(m.nodes, node{})
			m.addChild(at, pattern[i], to)
		}
		at = to
	}
	m.nodes[at].out = int32(len(pattern))
}

func (m *matcher) addChild(at int32, c byte, to int32) {
	n := &m.nodes[at]
	switch {
	case at == 0:
		m.root[c] = to
	case n.to == 0:
		n.key, n.to = c, to
	default:
		n.more = append(n.more, edge{c, to})
	}
}

func (m *matcher) child(at int32, c byte) int32 {
	if at == 0 {
		return m.root[c]
	}
	n := &m.nodes[at]
	if n.key == c {
		return n.to
	}
	for _, e := range n.more {
		if e.key == c {
			return e.to
		}
	}
	return 0
}

// filter makes the text pass for one that may begin here.
func (m *matcher) filter(pattern string) {
	for i := range 3 {
		p := uint16(pattern[i]) | uint16(pattern[i+1])<<8
		m.pairs[p>>6] |= 1 << (p & 63)
	}
	h := headHash([]byte(pattern[:4]))
	m.heads[h>>6] |= 1 << (h & 63)
}

// link sets what the automaton does where a pattern does not go on, level by level.
func (m *matcher) link() {
	type item struct{ at, depth int32 }
	var queue []item
	for _, to := range m.root {
		if to != 0 {
			queue = append(queue, item{to, 1})
		}
	}
	visit := func(from item, c byte, to int32) {
		m.nodes[to].fail = m.next(m.nodes[from.at].fail, c)
		queue = append(queue, item{to, from.depth + 1})
	}
	for i := 0; i < len(queue); i++ {
		it := queue[i]
		n := &m.nodes[it.at]
		if n.out == 0 {
			n.out = m.nodes[n.fail].out
		}
		n.hold = it.depth
		if n.to == 0 {
			n.hold = m.nodes[n.fail].hold
			continue
		}
		visit(it, n.key, n.to)
		for _, e := range n.more {
			visit(it, e.key, e.to)
		}
	}
}

// next is the state after one more byte.
func (m *matcher) next(at int32, c byte) int32 {
	for {
		if to := m.child(at, c); to != 0 || at == 0 {
			return to
		}
		at = m.nodes[at].fail
	}
}

// awsNext is the state of the search for access key ids after one more byte: bit
// k is set when the last k+1 bytes may be the beginning of one.
func awsNext(state uint32, c byte) uint32 {
	var may uint32
	switch {
	case c >= 'A' && c <= 'Z':
		may = 0xffff0
		switch c {
		case 'A':
			may |= 1<<0 | 1<<3
		case 'K', 'S':
			may |= 1 << 1
		case 'I':
			may |= 1 << 2
		}
	case c >= '0' && c <= '9':
		may = 0xffff0
	}
	return (state<<1 | 1) & may
}

// awsHold is how many of the last bytes may still become an access key id.
func awsHold(state uint32) int { return bits.Len32(state &^ (1 << (awsKeyLen - 1))) }

func headHash(p []byte) uint32 { return binary.LittleEndian.Uint32(p) * 0x9E3779B1 >> 16 }

func (m *matcher) pair(p []byte, i int) uint64 {
	x := binary.LittleEndian.Uint16(p[i:])
	return m.pairs[x>>6] >> (x & 63) & 1
}

// skip answers the first place from i on at which a pattern may begin, or from
// which on too little text is left to say. A pattern is at least four bytes
// long, so of the three pairs at its beginning one is at a multiple of three:
// it is enough to look at every third place.
func (m *matcher) skip(p []byte, i int) int {
	j := i + 2
	for {
		for j+10 < len(p) && m.pair(p, j)|m.pair(p, j+3)|m.pair(p, j+6)|m.pair(p, j+9) == 0 {
			j += 12
		}
		for range 4 {
			if j+1 >= len(p) {
				return min(j-2, len(p))
			}
			if m.pair(p, j) != 0 {
				for s := j - 2; s <= j; s++ {
					if s+4 > len(p) {
						return s
					}
					if h := headHash(p[s:]); m.heads[h>>6]>>(h&63)&1 != 0 {
						return s
					}
				}
			}
			j += 3
		}
	}
}
