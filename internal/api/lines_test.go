package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
)

const talkative = `
phases:
  build:
    commands:
      - 'echo one; echo two; echo "a (b"; printf tail'
      - 'echo three; echo ERROR four; echo five; echo six; echo error seven'
      - 'true'
`

// texts are the lines as "step line text".
func texts(lines []client.LogLine) []string {
	out := []string{}
	for _, l := range lines {
		out = append(out, fmt.Sprintf("%s:%d %s", strings.TrimPrefix(l.Step, "build/BUILD/"), l.Line, l.Text))
	}
	return out
}

// allLines reads all pages.
func (w *world) allLines(q client.LineQuery) []client.LogLine {
	w.t.Helper()
	var all []client.LogLine
	for {
		page, err := w.admin.Lines(w.t.Context(), "web", 1, q)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, page.Items...)
		if q.After = page.Next; q.After == "" {
			return all
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", talkative)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	whole := []string{"0:1 one", "0:2 two", "0:3 a (b", "0:4 tail", "1:1 three", "1:2 ERROR four", "1:3 five", "1:4 six", "1:5 error seven"}
	for _, c := range []struct {
		what string
		q    client.LineQuery
		want []string
	}{
		{"all", client.LineQuery{}, whole},
		{"of a step", client.LineQuery{Step: "build/BUILD/1"}, whole[4:]},
		{"of a job", client.LineQuery{Job: "build"}, whole},
		{"a range", client.LineQuery{Step: "build/BUILD/1", From: 2, To: 3}, whole[5:7]},
		{"a range behind the end", client.LineQuery{Step: "build/BUILD/1", From: 20}, nil},
		{"the last", client.LineQuery{Last: 2}, whole[7:]},
		{"the last, over steps", client.LineQuery{Last: 6}, whole[3:]},
		{"more than there are", client.LineQuery{Last: 60}, whole},
		{"literal", client.LineQuery{Grep: "a (b"}, whole[2:3]},
		{"regular expression", client.LineQuery{Grep: "^t.*[eo]$", Regexp: true}, []string{"0:2 two", "1:1 three"}},
		{"case", client.LineQuery{Grep: "error", IgnoreCase: true}, []string{"1:2 ERROR four", "1:5 error seven"}},
		{"the rest", client.LineQuery{Grep: "e", Invert: true, Step: "build/BUILD/1"}, []string{"1:2 ERROR four", "1:4 six"}},
		{"context", client.LineQuery{Grep: "five", Context: 1}, whole[5:8]},
		{"context that meets", client.LineQuery{Grep: "error", IgnoreCase: true, Context: 2}, whole[4:]},
		{"context stays in its step", client.LineQuery{Grep: "three", Context: 1}, whole[4:6]},
		{"since a time to come", client.LineQuery{Since: time.Now().Add(time.Hour)}, nil},
		{"until a time that was", client.LineQuery{Until: time.Now().Add(-time.Hour)}, nil},
		{"since a time that was", client.LineQuery{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}, whole},
	} {
		for _, limit := range []int{0, 1, 2} {
			c.q.Limit = limit
			if got := texts(w.allLines(c.q)); !slices.Equal(got, c.want) {
				t.Errorf("%s, %d a page: got %q, want %q", c.what, limit, got, c.want)
			}
		}
		if !c.q.Until.IsZero() || c.q.To > 0 {
			continue
		}
		c.q.Limit = 0
		var got []client.LogLine
		err := w.admin.FollowLines(t.Context(), "web", 1, c.q, func(l client.LogLine) error { got = append(got, l); return nil })
		if err != nil || !slices.Equal(texts(got), c.want) {
			t.Errorf("%s, followed: got %q, %v; want %q", c.what, texts(got), err, c.want)
		}
	}
	count, err := w.admin.Lines(t.Context(), "web", 1, client.LineQuery{Grep: "e", Count: true})
	if err != nil || count.Matches != 4 || len(count.Items) != 0 || count.Scanned == 0 {
		t.Errorf("counted %+v, %v; want 4 matches and no lines", count, err)
	}
	for _, l := range w.allLines(client.LineQuery{}) {
		if age := time.Since(l.Time); age < 0 || age > time.Minute {
			t.Errorf("line %s:%d came %v ago", l.Step, l.Line, age)
		}
	}
	for text, q := range map[string]client.LineQuery{
		"RE2":            {Grep: "a(", Regexp: true},
		"name the step":  {From: 3},
		"choose one":     {Step: "build/BUILD/0", From: 1, Last: 2},
		"is missing":     {Invert: true},
		"begin without":  {After: "AAAA"},
		"of these steps": {After: w.lineCursor(), Step: "build/BUILD/2"},
	} {
		_, err := w.admin.Lines(t.Context(), "web", 1, q)
		if e := wantError(t, err, 422, "invalid", text); len(e.Fields) == 0 || !strings.HasPrefix(e.Fields[0].Field, "query.") {
			t.Errorf("got fields %+v, want one of the query", e.Fields)
		}
	}
	_, err = w.admin.Lines(t.Context(), "web", 1, client.LineQuery{Step: "build/BUILD/9"})
	wantError(t, err, 404, "not_found", "build/BUILD/9")
	_, err = w.admin.Lines(t.Context(), "web", 1, client.LineQuery{Job: "other"})
	wantError(t, err, 404, "not_found", "other")
}

// lineCursor is the place behind the first line.
func (w *world) lineCursor() string {
	w.t.Helper()
	page, err := w.admin.Lines(w.t.Context(), "web", 1, client.LineQuery{Limit: 1})
	if err != nil || page.Next == "" {
		w.t.Fatalf("got %+v, %v", page, err)
	}
	return page.Next
}

// TestLinesOfWhatRuns reads and follows while a step is in the middle of a line.
func TestLinesOfWhatRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.project("web", "phases: {build: {commands: ['echo before; printf half; wait gate; echo ...whole; echo after', 'echo last']}}")
	w.start("web", client.StartBuild{})
	<-w.script.Reached("gate")
	seen := make(chan client.LogLine, 100)
	done := make(chan error, 1)
	go func() {
		done <- w.admin.FollowLines(t.Context(), "web", 1, client.LineQuery{Last: 5}, func(l client.LogLine) error { seen <- l; return nil })
	}()
	if l := <-seen; l.Text != "before" {
		t.Errorf("got %+v first, want before", l)
	}
	if got := texts(w.allLines(client.LineQuery{})); !slices.Equal(got, []string{"0:1 before"}) {
		t.Errorf("got %q; the second line has no end yet", got)
	}
	w.script.Release("gate")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	close(seen)
	var rest []client.LogLine
	for l := range seen {
		rest = append(rest, l)
	}
	if got, want := texts(rest), []string{"0:2 half...whole", "0:3 after", "1:1 last"}; !slices.Equal(got, want) {
		t.Errorf("followed %q, want %q", got, want)
	}
}
