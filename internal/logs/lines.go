package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
)

// scanLines walks from a byte over n line ends and gives the place after the last.
func scanLines(ctx context.Context, log io.ReaderAt, at, n int64) (int64, error) {
	if n < 0 {
		return 0, fmt.Errorf("lines count from 0: %w", ci.ErrInvalid)
	}
	buf := make([]byte, blockSize)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return 0, context.Cause(ctx)
		}
		got, err := log.ReadAt(buf, at)
		p := buf[:got]
		if c := int64(bytes.Count(p, newline)); c < n {
			n -= c
			at += int64(got)
		} else {
			for ; n > 0; n-- {
				i := bytes.IndexByte(p, '\n') + 1
				at += int64(i)
				p = p[i:]
			}
			return at, nil
		}
		if errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("the log has %d lines fewer: %w", n, ci.ErrNotFound)
		} else if err != nil {
			return 0, err
		}
	}
	return at, nil
}

var newline = []byte{'\n'}

// countLines counts the line ends between two bytes of the log.
func countLines(log io.ReaderAt, from, to int64) (int64, error) {
	var n int64
	buf := make([]byte, blockSize)
	for from < to {
		got, err := log.ReadAt(buf[:min(blockSize, to-from)], from)
		n += int64(bytes.Count(buf[:got], newline))
		from += int64(got)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return n, err
		}
	}
	return n, nil
}
