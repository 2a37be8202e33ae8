package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/fileset"
)

// serve does the one operation of a connection. What it started goes on when the
// client goes away.
func (a *agent) serve(ctx context.Context, conn net.Conn) {
	w := newWire(conn)
	kind, size, err := w.next()
	if err != nil && !errors.Is(err, ci.ErrInvalid) {
		return // somebody only looked whether there is a listener
	}
	var req request
	if err == nil && kind != frameRequest {
		err = fmt.Errorf("frame %q where a request was due: %w", kind, ci.ErrInvalid)
	} else if err == nil {
		err = w.payload(size, &req)
	}
	var res result
	if err == nil {
		res, err = a.answer(ctx, conn, w, req)
	}
	res.Error = toRemote(err)
	_ = w.writeJSON(frameResult, res)
}

func (a *agent) answer(ctx context.Context, conn net.Conn, w *wire, req request) (result, error) {
	switch req.Op {
	case opPing:
		return result{}, nil
	case opStart:
		if req.Command == nil {
			return result{}, fmt.Errorf("start without a command: %w", ci.ErrInvalid)
		}
		return result{}, a.start(*req.Command)
	case opOutput, opWait, opStop:
		st, err := a.steps.find(req.Step)
		if err != nil {
			return result{}, err
		}
		return a.answerStep(conn, w, st, req)
	case opPut:
		return result{}, fileset.Unpack(ctx, req.Dir, w, fileset.Limits{})
	case opGet:
		if req.Set == nil {
			return result{}, fmt.Errorf("get without a file set: %w", ci.ErrInvalid)
		}
		m, err := fileset.Pack(ctx, fileset.ExpandHome(*req.Set, a.Dirs.Home), w)
		return result{Matched: &m}, err
	case opTerminal:
		if req.Terminal == nil {
			return result{}, fmt.Errorf("terminal without its description: %w", ci.ErrInvalid)
		}
		exit, err := a.terminal(w, *req.Terminal)
		return result{Exit: &exit}, err
	case opShutdown:
		a.shutdown()
		<-a.dead
		return result{}, nil
	}
	return result{}, fmt.Errorf("operation %q is not known to this agent: %w", req.Op, ci.ErrInvalid)
}

func (a *agent) answerStep(conn net.Conn, w *wire, st *step, req request) (result, error) {
	gone := hangup(conn)
	switch req.Op {
	case opOutput:
		if req.From < 0 {
			return result{}, fmt.Errorf("output from byte %d: %w", req.From, ci.ErrInvalid)
		}
		return result{}, st.spool.follow(w, req.From, gone)
	case opStop:
		stopped := make(chan struct{})
		a.steps.wait.Go(func() { // also when the client does not wait for it
			defer close(stopped)
			a.stop(st, time.Duration(req.Grace))
		})
		select {
		case <-stopped:
		case <-gone:
		}
		return result{}, nil
	}
	select {
	case <-st.done:
		return result{Exit: &st.exit}, nil
	case <-gone:
		return result{}, nil
	}
}

// hangup is closed when the client has gone away. Nothing more may come from it.
func hangup(conn net.Conn) <-chan struct{} {
	gone := make(chan struct{})
	go func() { // ends with the connection, which serve's caller closes
		defer close(gone)
		_, _ = io.Copy(io.Discard, conn)
	}()
	return gone
}
