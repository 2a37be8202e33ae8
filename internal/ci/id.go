package ci

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// BuildID names one build. IDs sort by the time of their making and are safe
// as a file name, a label and a URL segment.
type BuildID string

// JobID is "<build>/<job>" for the first attempt and "<build>/<job>#2" for the second.
type JobID string

// StepID is "<job>/<phase>" for a phase, "<job>/<phase>/<n>" for the n-th command
// of it, and "<job>/<phase>/<name>" for what Sluice does itself, such as
// "…/UPLOAD_ARTIFACTS/artifacts". Attempts of a retried phase are "<phase>~2".
type StepID string

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// NewBuildID makes an ID from a time and 50 random bits: 10 characters of
// milliseconds since 1970 and 10 of chance.
func NewBuildID(now time.Time) BuildID {
	var chance [10]byte
	_, _ = rand.Read(chance[:]) // crypto/rand.Read never fails since Go 1.24
	out := make([]byte, 20)
	ms := uint64(now.UnixMilli())
	for i := 9; i >= 0; i-- {
		out[i] = crockford[ms&31]
		ms >>= 5
	}
	for i, b := range chance {
		out[10+i] = crockford[b&31]
	}
	return BuildID(out)
}

// Job names an attempt of a job of the build, counted from 1.
func (b BuildID) Job(name string, attempt int) JobID {
	if attempt <= 1 {
		return JobID(string(b) + "/" + name)
	}
	return JobID(string(b) + "/" + name + "#" + strconv.Itoa(attempt))
}

// Build is the build the job belongs to.
func (j JobID) Build() BuildID {
	b, _, _ := strings.Cut(string(j), "/")
	return BuildID(b)
}

// Name is the job's name in the plan, without the attempt.
func (j JobID) Name() string {
	_, name, _ := strings.Cut(string(j), "/")
	name, _, _ = strings.Cut(name, "#")
	return name
}

// Attempt counts from 1.
func (j JobID) Attempt() int {
	_, n, ok := strings.Cut(string(j), "#")
	if !ok {
		return 1
	}
	i, err := strconv.Atoi(n)
	if err != nil {
		return 1
	}
	return i
}

// Step names a step of the job by its path in the job.
func (j JobID) Step(path string) StepID { return StepID(string(j) + "/" + path) }

// Job is the job the step belongs to.
func (s StepID) Job() JobID {
	parts := strings.SplitN(string(s), "/", 3)
	if len(parts) < 2 {
		return JobID(s)
	}
	return JobID(parts[0] + "/" + parts[1])
}

// Path is the part below the job: "BUILD/0".
func (s StepID) Path() string {
	parts := strings.SplitN(string(s), "/", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

// CheckJobName refuses names that could not be part of an ID.
func CheckJobName(name string) error {
	ok := name != "" && len(name) <= 128 && name[0] != '-' && name[0] != '.'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c == '_' || c == '-' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	if !ok {
		return fmt.Errorf("job name %q: want letters, digits, '_', '-' and '.', at most 128: %w", name, ErrInvalid)
	}
	return nil
}
