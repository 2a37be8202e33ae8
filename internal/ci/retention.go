package ci

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Retention says how long builds of a project are kept, and, apart, their
// artifacts and logs. What is beyond one of two limits goes. 0 = as the server
// has it; -1 = for ever. The newest build that succeeded and builds of tags stay
// in any case, and so does what is not done.
type Retention struct {
	Builds         int `json:"builds,omitempty"` // the newest so many
	Days           int `json:"days,omitempty"`
	ArtifactBuilds int `json:"artifactBuilds,omitempty"` // artifacts of the newest so many builds
	ArtifactDays   int `json:"artifactDays,omitempty"`
	LogBuilds      int `json:"logBuilds,omitempty"`
	LogDays        int `json:"logDays,omitempty"`
}

// The parts of a build that go on their own, and the whole.
const (
	PartBuild     = "build"
	PartArtifacts = "artifacts"
	PartLogs      = "logs"
)

// limits lists the names of the limits in the text form, and where each is.
func (r *Retention) limits() []struct {
	name string
	n    *int
} {
	return []struct {
		name string
		n    *int
	}{
		{"builds", &r.Builds}, {"days", &r.Days}, {"artifact-builds", &r.ArtifactBuilds},
		{"artifact-days", &r.ArtifactDays}, {"log-builds", &r.LogBuilds}, {"log-days", &r.LogDays},
	}
}

// maxRetention bounds a limit.
const maxRetention = 1_000_000

// Check refuses limits that mean nothing; all that is wrong comes back at once.
func (r Retention) Check() error {
	var wrong []error
	for _, l := range r.limits() {
		if *l.n < -1 || *l.n > maxRetention {
			wrong = append(wrong, fmt.Errorf("%s is %d: want 1 to %d, -1 for all, or 0 for what the server has: %w", l.name, *l.n, maxRetention, ErrInvalid))
		}
	}
	return errors.Join(wrong...)
}

// Over fills in what r leaves to the server.
func (r Retention) Over(server Retention) Retention {
	own, theirs := r.limits(), server.limits()
	for i := range own {
		if *own[i].n == 0 {
			*own[i].n = *theirs[i].n
		}
	}
	return r
}

// Limit is how many builds have the part, and how many days it stays; 0 = no limit.
func (r Retention) Limit(part string) (builds, days int) {
	switch part {
	case PartArtifacts:
		builds, days = r.ArtifactBuilds, r.ArtifactDays
	case PartLogs:
		builds, days = r.LogBuilds, r.LogDays
	default:
		builds, days = r.Builds, r.Days
	}
	return max(builds, 0), max(days, 0)
}

// Before is the time before which what is limited to days goes; zero = none.
func Before(now time.Time, days int) time.Time {
	if days == 0 {
		return time.Time{}
	}
	return now.Add(-time.Duration(days) * 24 * time.Hour)
}

// String is the text that ParseRetention reads.
func (r Retention) String() string {
	var parts []string
	for _, l := range r.limits() {
		switch *l.n {
		case 0:
		case -1:
			parts = append(parts, l.name+"=all")
		default:
			parts = append(parts, l.name+"="+strconv.Itoa(*l.n))
		}
	}
	return strings.Join(parts, ",")
}

// ParseRetention reads limits such as "builds=100,days=90,artifact-days=30,log-days=all".
func ParseRetention(text string) (r Retention, err error) {
	var wrong []error
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		var to *int
		var names []string
		for _, l := range r.limits() {
			names = append(names, l.name)
			if l.name == name {
				to = l.n
			}
		}
		n, bad := strconv.Atoi(strings.TrimSpace(value))
		switch {
		case to == nil:
			wrong = append(wrong, fmt.Errorf("there is no limit %.40q; there are %s", name, strings.Join(names, ", ")))
		case seen[name]:
			wrong = append(wrong, fmt.Errorf("%s is there twice", name))
		case strings.TrimSpace(value) == "all":
			*to = -1
		case bad != nil || n < 1 || n > maxRetention:
			wrong = append(wrong, fmt.Errorf("%s=%.40s: want a number from 1 to %d, or all", name, value, maxRetention))
		default:
			*to = n
		}
		seen[name] = true
	}
	if len(wrong) > 0 {
		return Retention{}, fmt.Errorf("%w: %w", errors.Join(wrong...), ErrInvalid)
	}
	return r, nil
}
