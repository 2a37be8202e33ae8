package show

import (
	"bufio"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
)

// JSON shows a build as events, one JSON object a line. What a step prints comes
// as "output" events, which have no sequence number because they are not stored.
type JSON struct {
	w    *bufio.Writer
	now  func() time.Time
	rest map[ci.StepID][]byte // the begin of a character whose end is to come
	err  error
}

// NewJSON makes a screen that writes events to w.
func NewJSON(w io.Writer, now func() time.Time) *JSON {
	return &JSON{w: bufio.NewWriterSize(w, 64<<10), now: now, rest: map[ci.StepID][]byte{}}
}

// Chunk is the data of an "output" event.
type Chunk struct {
	Text string `json:"text"`
}

// Wants says yes: all output is part of the stream.
func (*JSON) Wants(*ci.StepRun) bool { return true }

// Event writes the event as it is.
func (j *JSON) Event(e ci.Event, _ *ci.Build) {
	if e.Type == ci.EventStepFinished {
		if rest := j.rest[e.Step]; len(rest) > 0 {
			delete(j.rest, e.Step)
			j.text(e.Step, rest)
		}
	}
	j.write(e)
}

// Output writes a piece of output. Bytes that are not UTF-8 come as U+FFFD; a
// character is never cut in two.
func (j *JSON) Output(s *ci.StepRun, piece []byte) {
	if rest := j.rest[s.ID]; len(rest) > 0 {
		piece = append(rest, piece...)
		delete(j.rest, s.ID)
	}
	whole := len(piece) - partial(piece)
	if whole < len(piece) {
		j.rest[s.ID] = append([]byte(nil), piece[whole:]...)
	}
	if whole > 0 {
		j.text(s.ID, piece[:whole])
	}
}

func (j *JSON) text(id ci.StepID, piece []byte) {
	data, err := json.Marshal(Chunk{Text: string(piece)})
	if err != nil {
		j.err = err
		return
	}
	job := id.Job()
	j.write(ci.Event{Time: j.now(), Type: ci.EventOutput, Build: job.Build(), Job: job, Step: id, Data: data})
}

func (j *JSON) write(e ci.Event) {
	if j.err != nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = j.w.Write(append(line, '\n'))
	}
	if err == nil {
		err = j.w.Flush()
	}
	j.err = err
}

// Err is the first error of writing.
func (j *JSON) Err() error { return j.err }

// partial is the number of bytes at the end of p that begin a character without
// ending it.
func partial(p []byte) int {
	for n := 1; n <= utf8.UTFMax-1 && n <= len(p); n++ {
		c := p[len(p)-n]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
