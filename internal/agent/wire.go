package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
)

// A connection carries one operation: a request, then chunks of data either way,
// each direction ended by an end frame, then one result from the agent. A frame
// is its kind in one byte, the length in four (big endian), and the payload.
const (
	frameRequest = 'Q' // JSON request
	frameData    = 'D' // bytes of a stream
	frameEnd     = 'E' // the stream is complete
	frameSize    = 'S' // JSON [columns, rows] of a terminal
	frameResult  = 'R' // JSON result, the last frame of all
)

const (
	maxData    = 1 << 20  // of one data frame
	maxMessage = 32 << 20 // of one request or result: scripts and environments travel in it
	chunkSize  = 256 << 10
	headerSize = 5
)

// Operations.
const (
	opPing     = "ping"
	opStart    = "start"
	opOutput   = "output"
	opWait     = "wait"
	opStop     = "stop"
	opPut      = "put"
	opGet      = "get"
	opTerminal = "terminal"
	opShutdown = "shutdown"
)

type request struct {
	Op       string       `json:"op"`
	Step     ci.StepID    `json:"step,omitempty"`
	Command  *ci.Command  `json:"command,omitempty"`
	From     int64        `json:"from,omitempty"`
	Grace    int64        `json:"graceNanos,omitempty"`
	Dir      string       `json:"dir,omitempty"`
	Set      *ci.FileSet  `json:"set,omitempty"`
	Terminal *terminalRun `json:"terminal,omitempty"`
}

// terminalRun is ci.Terminal without its streams.
type terminalRun struct {
	Shell   string   `json:"shell,omitempty"`
	Env     []string `json:"env,omitempty"`
	User    string   `json:"user,omitempty"`
	Session string   `json:"session,omitempty"`
}

type result struct {
	Error   *remoteError `json:"error,omitempty"`
	Exit    *ci.Exit     `json:"exit,omitempty"`
	Matched *ci.Matched  `json:"matched,omitempty"`
}

// remoteError carries an error and which of ci's sentinels it wraps.
type remoteError struct {
	Kind    string `json:"kind,omitempty"`
	Message string `json:"message"`
}

func sentinels() map[string]error {
	return map[string]error{
		"invalid":     ci.ErrInvalid,
		"not found":   ci.ErrNotFound,
		"conflict":    ci.ErrConflict,
		"denied":      ci.ErrDenied,
		"unavailable": ci.ErrUnavailable,
	}
}

func toRemote(err error) *remoteError {
	if err == nil {
		return nil
	}
	r := &remoteError{Message: err.Error()}
	for kind, s := range sentinels() {
		if errors.Is(err, s) {
			r.Kind = kind
		}
	}
	return r
}

// Error makes remoteError an error with the text it had in the agent.
func (r *remoteError) Error() string { return r.Message }

// Unwrap gives back the sentinel that the agent's error wrapped.
func (r *remoteError) Unwrap() error { return sentinels()[r.Kind] }

// wire frames one connection. Reads and writes may go on at the same time, but
// only one of each.
type wire struct {
	r    *bufio.Reader
	w    io.Writer
	head [headerSize]byte // of the frame being read
	out  []byte           // header and small payloads leave in one write
	left int              // bytes of the current data frame not yet read
}

func newWire(rw io.ReadWriter) *wire {
	return &wire{r: bufio.NewReaderSize(rw, 32<<10), w: rw}
}

func (c *wire) write(kind byte, payload []byte) error {
	if len(payload) > maxMessage {
		return fmt.Errorf("message of %d bytes is over the limit of %d: %w", len(payload), maxMessage, ci.ErrInvalid)
	}
	c.out = append(c.out[:0], kind, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(c.out[1:], uint32(len(payload)))
	if len(payload) <= 4<<10 {
		c.out = append(c.out, payload...)
		_, err := c.w.Write(c.out)
		return err
	}
	if _, err := c.w.Write(c.out); err != nil {
		return err
	}
	_, err := c.w.Write(payload)
	return err
}

func (c *wire) writeJSON(kind byte, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	return c.write(kind, data)
}

// next reads a frame's header. The payload of a data frame is then read with
// readData, that of all others with payload.
func (c *wire) next() (kind byte, size int, err error) {
	if _, err := io.ReadFull(c.r, c.head[:]); err != nil {
		return 0, 0, err
	}
	size = int(binary.BigEndian.Uint32(c.head[1:]))
	limit := maxMessage
	switch c.head[0] {
	case frameData:
		limit = maxData
	case frameEnd, frameSize:
		limit = 64
	}
	if size > limit {
		return 0, 0, fmt.Errorf("frame %q of %d bytes is over the limit of %d: %w", c.head[0], size, limit, ci.ErrInvalid)
	}
	return c.head[0], size, nil
}

func (c *wire) payload(size int, into any) error {
	data := make([]byte, size)
	if _, err := io.ReadFull(c.r, data); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode message: %w: %w", err, ci.ErrInvalid)
	}
	return nil
}

// Write sends p as data frames, so that a wire is the io.Writer of its stream.
func (c *wire) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, maxData)
		if err := c.write(frameData, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Read reads data frames up to the end frame: a wire is the io.Reader of the
// stream that comes in. A frame of any other kind is an error.
func (c *wire) Read(p []byte) (int, error) {
	for c.left == 0 {
		kind, size, err := c.next()
		if err != nil {
			return 0, unexpected(err)
		}
		switch kind {
		case frameData:
			c.left = size
		case frameEnd:
			return 0, io.EOF
		default:
			return 0, fmt.Errorf("frame %q where data was due: %w", kind, ci.ErrInvalid)
		}
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, unexpected(err)
}

// unexpected turns the end of a connection in mid-stream into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
