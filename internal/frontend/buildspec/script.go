package buildspec

import (
	"regexp"
	"strings"
	"sync"
)

// bareScript blanks out what a shell does not read as its own syntax: quoted
// text, comments, the bodies of here-documents. Lines keep their number. Of
// double-quoted text ${...} stays, because the shell reads it.
func bareScript(s string) string {
	b := []byte(s)
	var pending []string // here-documents that begin on the next line
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '\\':
			i += 2
		case c == '\'':
			i = blank(b, i+1, func(j int) bool { return b[j] == '\'' }) + 1
		case c == '"':
			i = blankDouble(b, i+1) + 1
		case c == '#' && (i == 0 || strings.IndexByte(" \t\n;&|(", b[i-1]) >= 0):
			i = blank(b, i, func(j int) bool { return b[j] == '\n' })
		case c == '<' && strings.HasPrefix(s[i:], "<<<"):
			i += 3
		case c == '<' && strings.HasPrefix(s[i:], "<<"):
			word := strings.TrimLeft(strings.TrimPrefix(s[i+2:], "-"), " \t")
			end := strings.IndexAny(word, " \t\n;&|)<>")
			if end < 0 {
				end = len(word)
			}
			if w := strings.Trim(word[:end], `'"\`); w != "" {
				pending = append(pending, w)
			}
			i += 2
		case c == '\n' && len(pending) > 0:
			for _, word := range pending {
				i = blankHere(b, s, i+1, word)
			}
			pending = nil
		default:
			i++
		}
	}
	return string(b)
}

// blank overwrites from i until stop, keeping line ends, and says where it stopped.
func blank(b []byte, i int, stop func(int) bool) int {
	for ; i < len(b) && !stop(i); i++ {
		if b[i] != '\n' {
			b[i] = ' '
		}
	}
	return i
}

func blankDouble(b []byte, i int) int {
	for i < len(b) && b[i] != '"' {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i = blank(b, i, func(j int) bool { return j == i+2 })
		case b[i] == '$' && i+1 < len(b) && b[i+1] == '{':
			for i < len(b) && b[i] != '}' {
				i++
			}
			i++
		default:
			if b[i] != '\n' {
				b[i] = ' '
			}
			i++
		}
	}
	return min(i, len(b))
}

// blankHere overwrites a here-document's lines; the answer is the end of its last.
func blankHere(b []byte, s string, i int, word string) int {
	for i < len(s) {
		end := len(s)
		if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
			end = i + n
		}
		line := strings.TrimLeft(s[i:end], "\t ")
		blank(b, i, func(j int) bool { return j >= end })
		if line == word || end == len(s) {
			return end
		}
		i = end + 1
	}
	return len(s)
}

// bashism is a piece of syntax that dash refuses or reads otherwise.
type bashism struct {
	name    string
	pattern *regexp.Regexp
}

// start is where a command may begin.
const start = `(?m)(?:^|[;&|(]|\b(?:if|elif|while|until|then|else|do)\s|!\s)\s*`

var bashOnly = sync.OnceValue(func() []bashism {
	return []bashism{
		{"[[ ]]", regexp.MustCompile(start + `\[\[\s`)},
		{"source", regexp.MustCompile(start + `source\s+[^\s=]`)},
		{"set -o pipefail", regexp.MustCompile(start + `set\s[^\n;&|]*\bpipefail\b`)},
		{"<<<", regexp.MustCompile(`<<<`)},
		{"<( )", regexp.MustCompile(`\s[<>]\(`)},
		{"&>", regexp.MustCompile(`&>`)},
		{"${name:0:7}, ${name^^} or ${name/a/b}", regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*(?::[0-9 ]|\^|,|/)`)},
		{"arrays", regexp.MustCompile(start + `[A-Za-z_][A-Za-z0-9_]*=\(`)},
		{"function name { }", regexp.MustCompile(start + `function\s+[A-Za-z_]`)},
		{"pushd and popd", regexp.MustCompile(start + `(?:pushd|popd)\b`)},
		{"exit with a negative number", regexp.MustCompile(start + `exit\s+-\d`)},
		{"== in [ ]", regexp.MustCompile(start + `\[\s[^\]\n]*\s==\s`)},
	}
})

// powerShell is syntax that no Linux shell gives a meaning.
var powerShell = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\$env:[a-z_]|(?m)^\s*(?:New-Item|Get-ChildItem|Get-Item|Copy-Item|Remove-Item|Set-Location|Write-Host|Invoke-WebRequest|Set-ExecutionPolicy|Expand-Archive)\b`)
})

// bashisms names what of a bare script only bash understands.
func bashisms(text string) []string {
	var found []string
	for _, b := range bashOnly() {
		if b.pattern.MatchString(text) {
			found = append(found, b.name)
		}
	}
	return found
}

// worker is a command whose failure matters.
var worker = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(npm|npx|yarn|pnpm|pip3?|pytest|python3? -m|tox|go|cargo|make|cmake|mvn|\./mvnw|gradle|\./gradlew|docker|terraform|dotnet|bundle|composer|phpunit) .*`)
})

// compound opens something whose inside this reader does not follow.
var compound = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*(if|for|while|until|case|set|trap)\b|\$\?|\{\s*$`)
})

// maskedFailure finds a line of a plain multi-line script, not the last, whose
// failure nobody would see. Scripts with any control flow are left alone.
func maskedFailure(text string) (int, string) {
	lines := strings.Split(strings.TrimRight(text, " \t\n"), "\n")
	if len(lines) < 2 || compound().MatchString(text) {
		return 0, ""
	}
	for i := 0; i < len(lines)-1; i++ {
		line := strings.TrimSpace(lines[i])
		goesOn := strings.HasSuffix(line, `\`) || strings.HasSuffix(line, "&&") || strings.HasSuffix(line, "|") || strings.HasSuffix(line, "&")
		if goesOn || i > 0 && strings.HasSuffix(strings.TrimSpace(lines[i-1]), `\`) {
			continue
		}
		if worker().MatchString(line) && !strings.Contains(line, "||") {
			return i + 1, strings.Join(strings.Fields(line)[:2], " ")
		}
	}
	return 0, ""
}
