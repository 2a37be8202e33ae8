package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/logs"
)

// LineQuery chooses lines of what the commands of a build printed. Zero values
// choose all.
type LineQuery struct {
	Job        string    // of this job only: "build", or "build#2" for its second attempt
	Step       string    // of this step only, by its path
	From, To   int64     // lines of that step, counted from 1
	Last       int64     // the last so many
	Since      time.Time // that came then or later
	Until      time.Time // that came before
	Grep       string    // that have this text in them
	Regexp     bool      // Grep is a regular expression (RE2)
	IgnoreCase bool
	Invert     bool   // those that do not match
	Context    int    // and so many lines before and behind each that matches
	Count      bool   // say how many match, and show none
	Limit      int    // lines in a page; 0 = 1,000
	After      string // goes on behind a line or a page
}

// LogLine is a line of output. Text has its colours and whatever else the
// command printed, but for bytes that are not UTF-8.
type LogLine struct {
	Step    string    `json:"step"`
	Line    int64     `json:"line"` // in the step, from 1
	Time    time.Time `json:"time"` // at which it came, to a tenth of a second
	Text    string    `json:"text"`
	Context bool      `json:"context,omitempty"` // it does not match, but is near one that does
	Cut     bool      `json:"cut,omitempty"`     // a piece of a longer line
}

// LinePage is a part of an answer. The search of a page ends when it is full, and
// also when it has taken long: then it may be empty, and there is a next one.
type LinePage struct {
	Items   []LogLine `json:"items"`
	Next    string    `json:"next,omitempty"` // After of the page that follows
	Matches int64     `json:"matches"`        // lines of the page that match; with Count, of what was looked through for it
	Scanned int64     `json:"scanned"`        // bytes that were looked through for it
}

// Bounds of a page of lines.
const (
	usualLines  = 1000
	mostLines   = 10_000
	mostContext = 50
	maxPattern  = 1000
	pageBytes   = 8 << 20         // of text
	pageTime    = 2 * time.Second // of looking
)

func (q *LineQuery) check() error {
	in := &Invalid{Query: true}
	in.text("grep", q.Grep, maxPattern)
	bound := func(name string, n, most int64) {
		if n < 0 || n > most {
			in.add(name, "is %d: want 0 to %d", n, most)
		}
	}
	bound("limit", int64(q.Limit), mostLines)
	bound("context", int64(q.Context), mostContext)
	bound("from", q.From, 1<<60)
	bound("to", q.To, 1<<60)
	bound("last", q.Last, 1<<60)
	if q.Step == "" && (q.From > 0 || q.To > 0) {
		in.add("from", "lines have numbers in their step: name the step as well; the steps of the build list their paths")
	}
	if q.Last > 0 && q.From > 0 {
		in.add("last", "cannot be together with from: choose one")
	}
	if q.Grep == "" && (q.Invert || q.Regexp || q.IgnoreCase) {
		in.add("grep", "is missing, and without it there is nothing to invert, to read as an expression or to ignore the case of")
	}
	if _, err := q.matcher(); err != nil {
		in.add("grep", "%s", err)
	}
	return in.err()
}

// matcher makes a function that says whether a line is one of those wanted; nil
// when all are.
func (q *LineQuery) matcher() (func(text []byte) bool, error) {
	if q.Grep == "" {
		return nil, nil
	}
	literal := []byte(q.Grep)
	match := func(text []byte) bool { return bytes.Contains(text, literal) }
	if q.Regexp || q.IgnoreCase {
		pattern := q.Grep
		if !q.Regexp {
			pattern = regexp.QuoteMeta(pattern)
		}
		if q.IgnoreCase {
			pattern = "(?i)" + pattern
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, fmt.Errorf("is not a regular expression of RE2: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		match = re.Match
	}
	return func(text []byte) bool { return match(bare(text)) != q.Invert }, nil
}

// bare is a line without colours and the like, as a person reads it.
func bare(text []byte) []byte {
	text = bytes.TrimSuffix(text, []byte{'\r'})
	if bytes.IndexByte(text, 0x1b) < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		i := bytes.IndexByte(text, 0x1b)
		if i < 0 {
			return append(out, text...)
		}
		out = append(out, text[:i]...)
		text = text[i+escapeLength(text[i:]):]
	}
	return out
}

// escapeLength is how long the control sequence is at the beginning of text
// (ECMA-48): ESC [ … final byte, ESC ] … BEL or ST, or ESC and one more.
func escapeLength(text []byte) int {
	if len(text) < 2 {
		return len(text)
	}
	switch text[1] {
	case '[':
		for i := 2; i < len(text); i++ {
			if c := text[i]; c >= 0x40 && c <= 0x7e {
				return i + 1
			} else if c < 0x20 || c > 0x3f {
				return i
			}
		}
		return len(text)
	case ']', 'P', '^', '_', 'X':
		for i := 2; i < len(text); i++ {
			if text[i] == 0x07 {
				return i + 1
			}
			if text[i] == 0x1b && i+1 < len(text) && text[i+1] == '\\' {
				return i + 2
			}
		}
		return len(text)
	}
	return 2
}

// linesAt is a place in the output of a build.
type linesAt struct {
	step  ci.StepID // "" = the first
	place logs.Place
	after int // lines that are still to come as context of a match
}

// cursor writes a place down; it is checked when it comes back.
func (p linesAt) cursor() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %d %d %s", p.place.Offset, p.place.Line, p.after, stepPath(p.step)))
}

func readLinesAt(build ci.BuildID, cursor string) (p linesAt, err error) {
	wrong := &Invalid{Query: true, Fields: []Field{{"after", "is not one that this list gave: begin without it"}}}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	parts := strings.SplitN(string(text), " ", 4)
	if err != nil || len(parts) != 4 {
		return p, wrong
	}
	var numbers [3]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(parts[i], 10, 64); err != nil || numbers[i] < 0 {
			return p, wrong
		}
	}
	if numbers[2] > mostContext {
		return p, wrong
	}
	return linesAt{step: ci.StepID(string(build) + "/" + parts[3]), place: logs.Place{Offset: numbers[0], Line: numbers[1]}, after: int(numbers[2])}, nil
}

// chooses says whether a step's output is among what is asked for.
func (q *LineQuery) chooses(s *ci.StepRun) bool {
	path := stepPath(s.ID)
	switch {
	case q.Step != "":
		return path == q.Step && s.Kind != ci.KindPhase
	case q.Job != "" && jobName(s.ID.Job()) != q.Job:
		return false
	}
	return s.Kind == ci.KindCommand
}

// chosen lists the steps of a build whose output is asked for. A job or step that
// is not there is ci.ErrNotFound, unless it may still come.
func (q *LineQuery) chosen(b *ci.Build, project string) (ids []ci.StepRun, err error) {
	job := q.Job == ""
	for i := range b.Jobs {
		job = job || jobName(b.Jobs[i].ID) == q.Job
		for k := range b.Jobs[i].Steps {
			if s := &b.Jobs[i].Steps[k]; q.chooses(s) {
				ids = append(ids, *s)
			}
		}
	}
	if len(ids) > 0 || !b.Status.Done() {
		return ids, nil
	}
	if q.Step != "" {
		return nil, fmt.Errorf("step %.200q of build %s/%d: %w: the steps of the build list their paths", q.Step, project, b.Number, ci.ErrNotFound)
	}
	if !job {
		return nil, fmt.Errorf("job %.200q of build %s/%d: %w: the build lists its jobs", q.Job, project, b.Number, ci.ErrNotFound)
	}
	return nil, nil
}

// Lines gives a page of lines of what there is of a build's output. A last line
// that may still become longer is left out.
func (a *App) Lines(ctx context.Context, project string, number int64, q LineQuery) (LinePage, error) {
	b, err := a.load(ctx, project, number)
	if err != nil {
		return LinePage{}, err
	}
	if err := q.check(); err != nil {
		return LinePage{}, err
	}
	if err := a.removed(ctx, b.ID, ci.PartLogs, project, number); err != nil {
		return LinePage{}, err
	}
	steps, err := q.chosen(&b, project)
	if err != nil {
		return LinePage{}, err
	}
	page := pageOfLines{q: q, limit: q.Limit, until: a.cfg.Now().Add(pageTime), now: a.cfg.Now}
	if page.limit == 0 {
		page.limit = usualLines
	}
	at, err := a.beginLines(ctx, b.ID, steps, q)
	if err != nil {
		return LinePage{}, err
	}
	w := newLineWalk(a, q, page.take)
	w.pause = page.full
	next, err := w.steps(ctx, steps, at)
	if err != nil {
		return LinePage{}, fmt.Errorf("lines of build %s/%d: %w", project, number, err)
	}
	out := LinePage{Items: page.items, Matches: w.matches, Scanned: w.scanned}
	if out.Items == nil {
		out.Items = []LogLine{}
	}
	if next != nil {
		out.Next = next.cursor()
	}
	return out, nil
}

// pageOfLines takes lines until there are enough.
type pageOfLines struct {
	q     LineQuery
	items []LogLine
	bytes int
	limit int
	until time.Time
	now   func() time.Time
}

func (p *pageOfLines) take(l LogLine, _ linesAt) error {
	if !p.q.Count {
		p.items = append(p.items, l)
		p.bytes += len(l.Text)
	}
	return nil
}

func (p *pageOfLines) full(slow bool) bool {
	return len(p.items) >= p.limit || p.bytes >= pageBytes || slow && !p.now().Before(p.until)
}

// beginLines finds where the lines begin that are asked for.
func (a *App) beginLines(ctx context.Context, build ci.BuildID, steps []ci.StepRun, q LineQuery) (at linesAt, err error) {
	switch {
	case q.After != "":
		return readLinesAt(build, q.After)
	case len(steps) == 0:
		return at, nil
	case q.Last > 0:
		left := q.Last
		for i := len(steps) - 1; i >= 0 && left > 0; i-- {
			place, n, err := a.cfg.Logs.PlaceLast(ctx, steps[i].ID, left)
			if errors.Is(err, ci.ErrNotFound) {
				continue
			}
			if err != nil {
				return at, err
			}
			at, left = linesAt{step: steps[i].ID, place: place}, left-n
		}
		return at, nil
	case q.From > 1:
		at.step = steps[0].ID
		at.place, err = a.cfg.Logs.PlaceOf(ctx, at.step, q.From-1)
		if errors.Is(err, ci.ErrNotFound) {
			info, err := a.cfg.Logs.Stat(at.step)
			if errors.Is(err, ci.ErrNotFound) {
				return at, nil
			}
			at.place = logs.Place{Offset: info.Size, Line: info.Lines}
			return at, err
		}
		return at, err
	}
	return at, nil
}
