package ci

import (
	"errors"
	"fmt"
	"strings"
)

// The five kinds of error that a face translates. They are wrapped with what was
// attempted: fmt.Errorf("project %q: %w", name, ci.ErrNotFound).
var (
	ErrInvalid     = errors.New("invalid")
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")
	ErrDenied      = errors.New("denied")
	ErrUnavailable = errors.New("unavailable")
)

// Message is what a person is told of err: its text but for the kind at its end,
// which is for programs. "not found" stays, because there it is what happened.
func Message(err error) string {
	text := err.Error()
	for _, kind := range []error{ErrInvalid, ErrConflict, ErrDenied, ErrUnavailable} {
		if short, ok := strings.CutSuffix(text, ": "+kind.Error()); ok && errors.Is(err, kind) {
			return short
		}
	}
	return text
}

// Causes of a canceled context (context.Cause).
var (
	ErrCanceled   = errors.New("canceled by the user")
	ErrTimedOut   = errors.New("timed out")
	ErrSuperseded = errors.New("superseded by a newer build")
	ErrFailFast   = errors.New("stopped because another job failed (fast-fail)")
	ErrQueueTime  = errors.New("it waited in the queue longer than its queue timeout")
)

// Pos is a place in a definition. Line and Col count from 1; 0 = not known.
type Pos struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// String is "file:line:col", with what is not known left out.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Severity of a Problem.
type Severity string

// A definition with an Error does not compile; with a Warning it does.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one thing wrong with a definition: where, what, and what to do.
type Problem struct {
	Pos
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
}

// String is "file:line:col: error: message", the form compilers use.
func (p Problem) String() string {
	return p.Pos.String() + ": " + string(p.Severity) + ": " + p.Message
}

// Problems is all that is wrong with a definition, in the order of the text.
// It is an error when at least one of them is. It wraps ErrInvalid.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes Problems an ErrInvalid.
func (ps Problems) Unwrap() error { return ErrInvalid }

// Fatal says whether one of them is an error.
func (ps Problems) Fatal() bool {
	for _, p := range ps {
		if p.Severity == Error {
			return true
		}
	}
	return false
}
