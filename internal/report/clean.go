package report

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// clean makes s fit to be stored and shown: valid UTF-8, no control characters
// but tab and line feed, no terminal escape sequences, and at most limit runes.
func clean(s string, limit int) string {
	if plain(s) && len(s) <= limit {
		return s
	}
	var b strings.Builder
	b.Grow(min(len(s), 4*limit))
	runes := 0
	for i := 0; i < len(s) && runes < limit; {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == 0x1b:
			i += escape(s[i:])
			continue
		case r < 0x20 && r != '\n' && r != '\t', r >= 0x7f && r < 0xa0:
			i += size
			continue
		}
		b.WriteRune(r)
		runes++
		i += size
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 0x20 && c != '\n' && c != '\t') || c >= 0x7f {
			return false
		}
	}
	return true
}

// escape is the length of the terminal escape sequence that s begins with.
func escape(s string) int {
	if len(s) < 2 || s[1] != '[' {
		return 1
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
		if s[i] < 0x20 || s[i] > 0x7e {
			return i
		}
	}
	return len(s)
}

// seconds reads a duration as tools write it: "0.12", "1e-05", "1,234.5" and, in
// some locales, "0,12" or "1.234,5". What is no duration is 0.
func seconds(s string) time.Duration {
	s = strings.TrimSuffix(strings.TrimSpace(s), "s")
	if s == "" {
		return 0
	}
	if strings.Contains(s, ",") {
		s = decimalPoint(s)
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return scale(v, time.Second)
}

// decimalPoint drops thousands separators. With commas only, groups of three
// digits are thousands, unless they follow a zero.
func decimalPoint(s string) string {
	comma, dot := strings.LastIndexByte(s, ','), strings.LastIndexByte(s, '.')
	if dot > comma {
		return strings.ReplaceAll(s, ",", "")
	}
	if dot >= 0 {
		return strings.Replace(strings.ReplaceAll(s, ".", ""), ",", ".", 1)
	}
	groups := strings.Split(s, ",")
	thousands := len(groups[0]) <= 3 && groups[0] != "0" && groups[0] != ""
	for _, g := range groups[1:] {
		thousands = thousands && len(g) == 3
	}
	if thousands || len(groups) > 2 {
		return strings.Join(groups, "")
	}
	return groups[0] + "." + groups[1]
}

// scale is v units, not negative, at most the longest duration there is.
func scale(v float64, unit time.Duration) time.Duration {
	ns := v * float64(unit)
	switch {
	case !(ns > 0): // NaN too
		return 0
	case ns >= math.MaxInt64:
		return math.MaxInt64
	}
	return time.Duration(math.Round(ns))
}

// plus adds without running over.
func plus(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// count reads a number of things; 0 for what is none.
func count(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 {
		return 0
	}
	return min(n, math.MaxInt32)
}

// detail joins a short message and a long text, which often begins with it.
func detail(message, text string) string {
	message, text = strings.TrimSpace(message), strings.Trim(text, "\r\n")
	switch {
	case message == "" || strings.Contains(text, message):
		return strings.TrimRight(text, " \t\r\n")
	case strings.TrimSpace(text) == "":
		return message
	}
	return message + "\n" + strings.TrimRight(text, " \t\r\n")
}
