package logs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// masked is the specification: mark every occurrence of every variant, also
// those that overlap, and replace each connected stretch.
func masked(raw string, secrets []string) string {
	type iv struct{ a, b int }
	var ivs []iv
	for _, s := range secrets {
		for _, v := range variants(s) {
			if len(v) < MinSecret {
				continue
			}
			for i := 0; i+len(v) <= len(raw); i++ {
				if raw[i:i+len(v)] == v {
					ivs = append(ivs, iv{i, i + len(v)})
				}
			}
		}
	}
	key := regexp.MustCompile(`^A[KS]IA[A-Z0-9]{16}`)
	for i := range raw {
		if key.MatchString(raw[i:]) {
			ivs = append(ivs, iv{i, i + awsKeyLen})
		}
	}
	slices.SortFunc(ivs, func(x, y iv) int { return x.a - y.a })
	var out strings.Builder
	at := 0
	for i := 0; i < len(ivs); {
		from, to := ivs[i].a, ivs[i].b
		for i++; i < len(ivs) && ivs[i].a < to; i++ {
			to = max(to, ivs[i].b)
		}
		out.WriteString(raw[at:from] + mark)
		at = to
	}
	out.WriteString(raw[at:])
	return out.String()
}

func maskIn(t interface{ Fatal(...any) }, chunks []string, secrets []string) string {
	var out bytes.Buffer
	m := NewMasker(&out, secrets)
	for _, c := range chunks {
		if n, err := io.WriteString(m, c); n != len(c) || err != nil {
			t.Fatal("write:", n, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestMasker(t *testing.T) {
	t.Parallel()
	const id = "AKIAIOSFODNN7EXAMPLE"
	tests := map[string]struct {
		secrets []string
		in      string
		want    string
	}{
		"plain":                   {[]string{"hunter2"}, "pw=hunter2!\n", "pw=***!\n"},
		"twice in a row":          {[]string{"hunter2"}, "hunter2hunter2", "******"},
		"overlapping":             {[]string{"abcdef", "defghi"}, "xabcdefghix", "x***x"},
		"overlapping itself":      {[]string{"aaaa"}, "baaaaaaaaab", "b***b"},
		"inside another":          {[]string{"bcde", "abcdefgh"}, "abcdefgh abcdefg", "*** a***fg"},
		"multi-line":              {[]string{"one1\ntwo2\n"}, "one1\ntwo2\n", "***\n"},
		"multi-line, CR LF":       {[]string{"one1\ntwo2"}, "one1\r\ntwo2\r\n", "***\r\n"},
		"multi-line, line alone":  {[]string{"one1\r\ntwo2"}, "> two2\n", "> ***\n"},
		"short line of a secret":  {[]string{"{\nkey1\n}"}, "{ key1 }\n{\nkey1\n}", "{ *** }\n***"},
		"too short":               {[]string{"abc", "", "  x "}, "abc x", "abc x"},
		"white space around":      {[]string{"  spaced  "}, "<  spaced  ><spaced>", "<***><***>"},
		"access key id":           {nil, "id " + id + " and ASIA" + id[4:], "id *** and ***"},
		"access key id, too long": {nil, id + "X", "***X"},
		"not an access key id":    {nil, "AKIAIOSFODNN7example " + id[:19], "AKIAIOSFODNN7example " + id[:19]},
		"access key ids overlap":  {nil, "AKIA" + id, "***"},
		"unfinished":              {[]string{"hunter2"}, "hunter", "hunter"},
		"binary":                  {[]string{"\x00\xff\x00\xfe"}, "a\x00\x00\xff\x00\xfe\xff", "a\x00***\xff"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := maskIn(t, []string{tt.in}, tt.secrets); got != tt.want {
				t.Errorf("whole: got %q, want %q", got, tt.want)
			}
			if got := maskIn(t, strings.Split(tt.in, ""), tt.secrets); got != tt.want {
				t.Errorf("byte by byte: got %q, want %q", got, tt.want)
			}
			if got := masked(tt.in, tt.secrets); got != tt.want {
				t.Errorf("the specification: got %q, want %q", got, tt.want)
			}
		})
	}
}

// genText makes text in which secrets, parts of them and their overlaps are common.
func genText(secrets []string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(0, 20).Draw(t, "pieces") {
			piece := rapid.SampledFrom(append([]string{
				"AKIAIOSFODNN7EXAMPLE", "ASIAAKIA", "A", "\n", "\r\n", "plain words that are no secret ",
			}, secrets...)).Draw(t, "piece")
			from := rapid.IntRange(0, len(piece)).Draw(t, "from")
			b.WriteString(piece[from:rapid.IntRange(from, len(piece)).Draw(t, "to")])
		}
		return b.String()
	})
}

var genSecrets = rapid.SliceOfN(rapid.StringMatching(`[ab]{3,8}|[abc\n]{4,12}|[A-Z]{6}|AKIA[A-Z0-9]{2,20}`), 0, 4)

func cut(t *rapid.T, s string) []string {
	var out []string
	for len(s) > 0 {
		n := rapid.IntRange(1, len(s)).Draw(t, "chunk")
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

func TestMaskerMeetsSpecification(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secrets := genSecrets.Draw(t, "secrets")
		raw := genText(secrets).Draw(t, "raw")
		if got, want := maskIn(t, cut(t, raw), secrets), masked(raw, secrets); got != want {
			t.Fatalf("secrets %q, raw %q: got %q, want %q", secrets, raw, got, want)
		}
	})
}

// A stream taken up again wherever it was settled goes on as if never left.
func TestMaskingResumes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secrets := genSecrets.Draw(t, "secrets")
		raw := genText(secrets).Draw(t, "raw")
		m := newMatcher(secrets)
		s, start := resume(m, 0), int64(0)
		var got []byte
		for start+s.pos < int64(len(raw)) {
			at := start + s.pos
			n := rapid.Int64Range(1, int64(len(raw))-at).Draw(t, "chunk")
			got = append(got, s.next([]byte(raw[at:at+n]))...)
			if rapid.Bool().Draw(t, "leave") {
				from, covered := s.settled()
				s, start = resume(m, covered), start+from
				if rest := raw[start:]; rapid.Bool().Draw(t, "replay") {
					got = append(got, s.next([]byte(rest[:min(len(rest), 3)]))...)
				}
			}
			if rapid.IntRange(0, 100).Draw(t, "end") == 0 {
				break // so that a stream that never settles ends too
			}
		}
		got = append(got, s.next([]byte(raw[start+s.pos:]))...)
		got = append(got, s.rest()...)
		if want := masked(raw, secrets); string(got) != want {
			t.Fatalf("secrets %q, raw %q: got %q, want %q", secrets, raw, got, want)
		}
	})
}

func FuzzMasker(f *testing.F) {
	f.Add("hunter2 hunter2", "hunter2", "ter2 hun", uint8(3))
	f.Add("AKIAIOSFODNN7EXAMPLE", "EXAMPLE", "AKIA", uint8(1))
	f.Add("a\r\nb\r\nlong line", "a\nb\nlong line", "\r\nb", uint8(7))
	f.Fuzz(func(t *testing.T, raw, s1, s2 string, size uint8) {
		if len(raw) > 4096 || len(s1) > 512 || len(s2) > 512 {
			t.Skip("the specification is slow")
		}
		var chunks []string
		for c := range slices.Chunk([]byte(raw), int(size)+1) {
			chunks = append(chunks, string(c))
		}
		secrets := []string{s1, s2}
		if got, want := maskIn(t, chunks, secrets), masked(raw, secrets); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// Live viewers see all but what may be the beginning of a secret.
func TestMaskerHoldsBackOnlyPrefixes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	m := NewMasker(&out, []string{"hunter2", "secret\nlines"})
	for _, step := range []struct{ in, seen string }{
		{"Password: ", "Password: "},
		{"hunt", "Password: "},
		{"ing", "Password: hunting"},
		{" hunter2", "Password: hunting ***"},
		{"\nsecret", "Password: hunting ***\n"}, // "secret" is one of the lines, and the whole may follow
		{"\n", "Password: hunting ***\n"},
		{"x", "Password: hunting ***\n***\nx"},
	} {
		if _, err := io.WriteString(m, step.in); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != step.seen {
			t.Fatalf("after %q: got %q, want %q", step.in, got, step.seen)
		}
	}
}

func TestMaskerReportsFailure(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here:", err)
	}
	defer full.Close()
	m := NewMasker(full, nil)
	if _, err := io.WriteString(m, "text"); err == nil {
		t.Error("a write to a full disk went well")
	}
	if err := m.Close(); err == nil {
		t.Error("Close forgot the error")
	}
}

func TestMaskable(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"hunter2": true, "": false, "abc": false, " ab ": false, "long one\nabc": false, "long one\n\nother\n": true,
	} {
		if got := Maskable(value); got != want {
			t.Errorf("Maskable(%q) = %v, want %v", value, got, want)
		}
	}
}

// buildOutput is n lines of 100 bytes of the kind that builds print.
func buildOutput(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("compiling package error warning info DEBUG src/main/java com.example.Service ok FAIL PASS -> [INFO] npm WARN secret session access token id=42 AKI ASSET")
	var b bytes.Buffer
	for i := range n {
		line := fmt.Sprintf("%07d ", i)
		for len(line) < 99 {
			line += words[r.IntN(len(words))] + " "
		}
		b.WriteString(line[:99] + "\n")
	}
	return b.Bytes()
}

func benchSecrets() []string {
	r := rand.New(rand.NewPCG(3, 4))
	const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
	var out []string
	for i := range 10 {
		b := make([]byte, 12+4*i)
		for j := range b {
			b[j] = chars[r.IntN(len(chars))]
		}
		out = append(out, string(b))
	}
	out[8] = "password" // words that occur in part
	out[9] = "session-token"
	return out
}

func BenchmarkMasker(b *testing.B) {
	text := buildOutput(100_000)
	for _, c := range []struct {
		name string
		text []byte
	}{
		{"clean", text},
		{"secret every 100 lines", bytes.ReplaceAll(text, []byte("00 "), []byte(benchSecrets()[3]))},
		{"worst", bytes.Repeat([]byte("session-toke session "), len(text)/21)},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := NewMasker(io.Discard, benchSecrets())
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				if _, err := m.Write(c.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
