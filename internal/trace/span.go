package trace

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// The wire types of OTLP in JSON, as far as they are used: IDs in hex, times in
// nanoseconds since 1970, as text.
type (
	request struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name    string `json:"name"`
		Version string `json:"version,omitempty"`
	}
	span struct {
		TraceID    string      `json:"traceId"`
		SpanID     string      `json:"spanId"`
		Parent     string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []attribute `json:"attributes,omitempty"`
		Status     status      `json:"status"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		String *string `json:"stringValue,omitempty"`
		Int    *string `json:"intValue,omitempty"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
)

const (
	kindInternal = 1
	statusOK     = 1
	statusError  = 2
)

// ID is the trace of a build, in hex.
func ID(b ci.BuildID) string { return sum("trace "+string(b), 16) }

// SpanID is the span of a build, a job or a step, by its ID.
func SpanID(id string) string { return sum("span "+id, 8) }

func sum(text string, n int) string {
	h := sha256.Sum256([]byte("sluice " + text))
	return hex.EncodeToString(h[:n])
}

// Parent is the TRACEPARENT (W3C Trace Context) of what a job does.
func Parent(j ci.JobID) string { return "00-" + ID(j.Build()) + "-" + SpanID(string(j)) + "-01" }

func text(key, v string) attribute {
	v = strings.ToValidUTF8(v, "\uFFFD")
	return attribute{key, value{String: &v}}
}

func integer(key string, n int64) attribute {
	v := strconv.FormatInt(n, 10)
	return attribute{key, value{Int: &v}}
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// spansOf makes the spans of a build that is done. What never began has none.
func spansOf(b ci.Build) []span {
	trace, root := ID(b.ID), SpanID(string(b.ID))
	attributes := []attribute{
		text("cicd.pipeline.name", b.Project), text("cicd.pipeline.run.id", string(b.ID)), text("cicd.pipeline.result", result(b.Status)),
		integer("sluice.build.number", b.Number), text("sluice.status", string(b.Status)), text("sluice.initiator", b.Initiator),
	}
	if b.Commit.Ref != "" {
		attributes = append(attributes, text("vcs.ref.head.name", b.Commit.Ref))
	}
	if b.Commit.Hash != "" {
		attributes = append(attributes, text("vcs.ref.head.revision", b.Commit.Hash))
	}
	all := []span{{
		TraceID: trace, SpanID: root, Name: "build " + b.Project, Kind: kindInternal, Start: nanos(b.Queued), End: nanos(later(b.Queued, b.Ended)),
		Attributes: attributes, Status: ended(b.Status, b.Reason),
	}}
	for _, j := range b.Jobs {
		if j.Started.IsZero() {
			continue
		}
		end := later(j.Started, j.Ended)
		all = append(all, span{
			TraceID: trace, SpanID: SpanID(string(j.ID)), Parent: root, Name: "job " + j.Name, Kind: kindInternal, Start: nanos(j.Started), End: nanos(end),
			Attributes: []attribute{
				text("cicd.pipeline.task.name", j.Name), text("cicd.pipeline.task.run.id", string(j.ID)), text("sluice.status", string(j.Status)),
				text("sluice.executor", j.Environment.Executor), text("container.image.name", j.Environment.Image),
				integer("sluice.waited_ms", max(j.Started.Sub(j.Queued), 0).Milliseconds()),
			},
			Status: ended(j.Status, j.Reason),
		})
		for _, s := range j.Steps {
			all = append(all, stepSpan(trace, j, s, end))
		}
	}
	return all
}

// stepSpan is a command's below its phase, and a phase's below its job.
func stepSpan(trace string, j ci.JobRun, s ci.StepRun, jobEnd time.Time) span {
	parent := string(j.ID)
	if s.Kind != ci.KindPhase {
		if i := strings.LastIndexByte(string(s.ID), '/'); j.Step(s.ID[:i]) != nil {
			parent = string(s.ID[:i])
		}
	}
	name := s.Title
	if name == "" || len(name) > 100 || strings.ContainsAny(name, "\r\n") {
		name = s.ID.Path()
	}
	end := s.Ended
	if end.IsZero() {
		end = jobEnd // it went with its sandbox
	}
	attributes := []attribute{text("sluice.step", s.ID.Path()), text("sluice.kind", string(s.Kind)), text("sluice.status", string(s.Status))}
	if s.Exit != nil {
		attributes = append(attributes, integer("process.exit.code", int64(s.Exit.Code)))
	}
	return span{
		TraceID: trace, SpanID: SpanID(string(s.ID)), Parent: SpanID(parent), Name: strings.ToValidUTF8(name, "\uFFFD"), Kind: kindInternal,
		Start: nanos(s.Started), End: nanos(later(s.Started, end)), Attributes: attributes, Status: ended(s.Status, s.Note),
	}
}

// later keeps a clock that was set back from ending a span before its start.
func later(start, end time.Time) time.Time {
	if end.Before(start) {
		return start
	}
	return end
}

func ended(s ci.Status, why string) status {
	if s.OK() || s == ci.Skipped {
		return status{Code: statusOK}
	}
	if why == "" {
		why = string(s)
	}
	return status{Code: statusError, Message: strings.ToValidUTF8(why, "\uFFFD")}
}

// result is a status in the words of OpenTelemetry's conventions for CI/CD.
func result(s ci.Status) string {
	switch s {
	case ci.Succeeded, ci.Unstable:
		return "success"
	case ci.Failed:
		return "failure"
	case ci.TimedOut:
		return "timeout"
	case ci.Canceled:
		return "cancellation"
	case ci.Skipped:
		return "skip"
	}
	return "error"
}
