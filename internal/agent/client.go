package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Client talks to an agent. Every call makes its own connection with Dial, so a
// Client is safe from several goroutines and has nothing to close.
//
// When the agent cannot be reached or goes away in the middle of a call, the
// error wraps ci.ErrUnavailable: the sandbox is lost.
type Client struct {
	Dial func(ctx context.Context) (net.Conn, error)
}

// call is one operation on its own connection.
type call struct {
	*wire
	conn net.Conn
	ctx  context.Context // only for its cause, when it ends the connection
	stop func() bool
}

func (c *Client) open(ctx context.Context, req request) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	conn, err := c.Dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("the sandbox does not answer: %w: %w", err, ci.ErrUnavailable)
	}
	k := &call{wire: newWire(conn), conn: conn, ctx: ctx}
	k.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := k.writeJSON(frameRequest, req); err != nil {
		k.close()
		return nil, k.broken(err)
	}
	return k, nil
}

func (k *call) close() {
	k.stop()
	_ = k.conn.Close()
}

// broken explains why a connection ended: the caller's context, a message that
// could not be sent, or an agent that is gone.
func (k *call) broken(err error) error {
	switch {
	case k.ctx.Err() != nil:
		return context.Cause(k.ctx)
	case errors.Is(err, ci.ErrInvalid):
		return err
	}
	return fmt.Errorf("the sandbox is gone: %w: %w", err, ci.ErrUnavailable)
}

// result reads the result frame, passing over nothing.
func (k *call) result() (result, error) {
	var res result
	kind, size, err := k.next()
	if err != nil {
		return res, k.broken(unexpected(err))
	}
	if kind != frameResult {
		return res, fmt.Errorf("frame %q where a result was due: %w", kind, ci.ErrUnavailable)
	}
	if err := k.payload(size, &res); err != nil {
		return res, k.broken(err)
	}
	if res.Error != nil {
		return res, res.Error
	}
	return res, nil
}

// do is a call without streams.
func (c *Client) do(ctx context.Context, req request) (result, error) {
	k, err := c.open(ctx, req)
	if err != nil {
		return result{}, err
	}
	defer k.close()
	return k.result()
}

// Ping answers nil once the agent answers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.do(ctx, request{Op: opPing})
	return err
}

// Start runs the command, or finds the one already started under the same ID.
func (c *Client) Start(ctx context.Context, cmd ci.Command) (ci.Process, error) {
	if _, err := c.do(ctx, request{Op: opStart, Step: cmd.ID, Command: &cmd}); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.ID, err)
	}
	return &process{client: c, id: cmd.ID}, nil
}

// Put unpacks a tar below dir in the sandbox; see ci.Sandbox.
func (c *Client) Put(ctx context.Context, dir string, tar io.Reader) error {
	k, err := c.open(ctx, request{Op: opPut, Dir: dir})
	if err != nil {
		return fmt.Errorf("put files into %s: %w", dir, err)
	}
	defer k.close()
	source := &source{r: tar}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, err := io.CopyBuffer(onlyWriter{k.wire}, source, make([]byte, chunkSize))
		if source.err != nil {
			_ = k.conn.Close() // the agent must not take the tar for whole
		} else if err == nil {
			_ = k.write(frameEnd, nil) // one that does not arrive is the connection's error, and so the result's
		}
	}()
	_, err = k.result()
	if err != nil {
		_ = k.conn.Close() // lets go of a sender that nobody reads from any more
	}
	<-sent
	if source.err != nil && k.ctx.Err() == nil {
		err = source.err
	}
	if err != nil {
		return fmt.Errorf("put files into %s: %w", dir, err)
	}
	return nil
}

// Get packs chosen files of the sandbox into tar; see ci.Sandbox.
func (c *Client) Get(ctx context.Context, set ci.FileSet, tar io.Writer) (ci.Matched, error) {
	k, err := c.open(ctx, request{Op: opGet, Set: &set})
	if err != nil {
		return ci.Matched{}, fmt.Errorf("get files: %w", err)
	}
	defer k.close()
	res, err := k.receive(tar)
	if err != nil {
		return ci.Matched{}, fmt.Errorf("get files: %w", err)
	}
	if res.Matched == nil {
		return ci.Matched{}, nil
	}
	return *res.Matched, nil
}

// receive copies data frames to w until the result.
func (k *call) receive(w io.Writer) (result, error) {
	buf := make([]byte, chunkSize)
	for {
		kind, size, err := k.next()
		if err != nil {
			return result{}, k.broken(unexpected(err))
		}
		switch kind {
		case frameData:
			for size > 0 {
				n, err := io.ReadFull(k.r, buf[:min(size, len(buf))])
				if err != nil {
					return result{}, k.broken(unexpected(err))
				}
				if _, err := w.Write(buf[:n]); err != nil {
					return result{}, err
				}
				size -= n
			}
		case frameEnd:
		case frameResult:
			var res result
			if err := k.payload(size, &res); err != nil {
				return result{}, k.broken(err)
			}
			if res.Error != nil {
				return result{}, res.Error
			}
			return res, nil
		default:
			return result{}, fmt.Errorf("unknown frame %q: %w", kind, ci.ErrUnavailable)
		}
	}
}

// Shutdown kills everything in the sandbox; then the agent exits. An agent that
// is gone already is ci.ErrUnavailable.
func (c *Client) Shutdown(ctx context.Context) error {
	if _, err := c.do(ctx, request{Op: opShutdown}); err != nil {
		return fmt.Errorf("shut the sandbox down: %w", err)
	}
	return nil
}

// onlyWriter and onlyReader hide ReadFrom and WriteTo, so that CopyBuffer uses
// its buffer and frames stay big.
type onlyWriter struct{ io.Writer }

type onlyReader struct{ io.Reader }

// source remembers how reading failed. By the error alone it could not be told
// from the connection's, since a tar may well come over a network.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// process is a step of the agent, by its ID.
type process struct {
	client *Client
	id     ci.StepID
}

// Wait gives the result of the command.
func (p *process) Wait(ctx context.Context) (ci.Exit, error) {
	res, err := p.client.do(ctx, request{Op: opWait, Step: p.id})
	if err != nil {
		return ci.Exit{}, fmt.Errorf("wait for %s: %w", p.id, err)
	}
	if res.Exit == nil {
		return ci.Exit{}, fmt.Errorf("wait for %s: the agent gave no result: %w", p.id, ci.ErrUnavailable)
	}
	return *res.Exit, nil
}

// Stop asks nicely, after grace with SIGKILL. The agent goes on with it when ctx
// ends first.
func (p *process) Stop(ctx context.Context, grace time.Duration) error {
	if _, err := p.client.do(ctx, request{Op: opStop, Step: p.id, Grace: int64(grace)}); err != nil {
		return fmt.Errorf("stop %s: %w", p.id, err)
	}
	return nil
}

// Output replays from a byte of the raw output, then follows.
func (p *process) Output(ctx context.Context, from int64) (io.ReadCloser, error) {
	k, err := p.client.open(ctx, request{Op: opOutput, Step: p.id, From: from})
	if err != nil {
		return nil, fmt.Errorf("output of %s: %w", p.id, err)
	}
	return &output{call: k, id: p.id}, nil
}

// output is the stream of a step. It ends with EOF when the agent said that it
// is whole, and with an error in every other case.
type output struct {
	*call
	id  ci.StepID
	end error // what every further Read answers
}

func (o *output) Read(p []byte) (int, error) {
	if o.end != nil {
		return 0, o.end
	}
	n, err := o.read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("output of %s: %w", o.id, err)
	}
	o.end = err
	return n, err
}

func (o *output) read(p []byte) (int, error) {
	for o.left == 0 {
		kind, size, err := o.next()
		if err != nil {
			return 0, o.broken(unexpected(err))
		}
		switch kind {
		case frameData:
			o.left = size
		case frameResult:
			var res result
			if err := o.payload(size, &res); err != nil {
				return 0, o.broken(err)
			}
			if res.Error != nil {
				return 0, res.Error
			}
			return 0, io.EOF
		default:
			return 0, fmt.Errorf("unknown frame %q: %w", kind, ci.ErrUnavailable)
		}
	}
	n, err := o.r.Read(p[:min(len(p), o.left)])
	o.left -= n
	if err != nil {
		return n, o.broken(unexpected(err))
	}
	return n, nil
}

func (o *output) Close() error {
	o.close()
	return nil
}
