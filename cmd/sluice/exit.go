package main

import (
	"errors"
	"fmt"

	"github.com/sluice-ci/sluice/internal/ci"
)

// The exit codes of sluice; docs/exit-codes.md explains them.
const (
	exitOK       = 0
	exitFailed   = 1   // the build said no
	exitUsage    = 2   // the definition or the command line is wrong
	exitFault    = 3   // it could not be found out
	exitTimedOut = 124 // as timeout(1)
	exitCanceled = 130 // as a shell says of a program that SIGINT ended
)

// exitError is an error that knows its exit code. Without an err everything has
// been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef is a wrong command line.
func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// said ends the process with a code and without a word.
func said(code int) error {
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

// codeOf is the exit code for what a command came back with.
func codeOf(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, ci.ErrCanceled):
		return exitCanceled
	}
	return exitFault
}

// codeOfBuild is the exit code for how a build ended.
func codeOfBuild(b *ci.Build) int {
	switch b.Status {
	case ci.Succeeded, ci.Unstable:
		return exitOK
	case ci.Failed:
		if ci.Problems(b.Problems).Fatal() {
			return exitUsage
		}
		return exitFailed
	case ci.TimedOut:
		return exitTimedOut
	case ci.Canceled:
		return exitCanceled
	}
	return exitFault
}
