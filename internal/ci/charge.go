package ci

import (
	"math"
	"strings"
	"time"
)

// Charge is what a job is metered with, settled when it ends and never changed:
// later prices do not change it.
type Charge struct {
	Executor string  `json:"executor,omitempty"`
	Type     string  `json:"type,omitempty"`     // CodeBuild's environment type
	Size     string  `json:"size,omitempty"`     // CodeBuild's compute type
	Seconds  int64   `json:"seconds"`            // that its sandbox was held, begun ones counted whole
	Billed   int64   `json:"billedSeconds"`      // rounded up: to minutes, where it is not billed by the second
	Cost     float64 `json:"cost,omitempty"`     // to a millionth of the currency
	Currency string  `json:"currency,omitempty"` // "" = nothing was priced
}

// Rate is the price of a kind of place.
type Rate struct {
	Price    float64       // of one Unit
	Unit     time.Duration // what is begun is paid whole; 0 = a minute
	Currency string
}

// Millionths is an amount of money as it is added up: whole numbers do not drift.
func Millionths(amount float64) int64 { return int64(math.Round(amount * 1e6)) }

// Amount is the reverse of Millionths.
func Amount(millionths int64) float64 { return float64(millionths) / 1e6 }

// Meter fills in what a job that held its sandbox for that long costs. Time in the
// queue does not count; a job that began counts one unit at least, whatever the
// clocks say (codebuild.md 8.4).
func (c Charge) Meter(held time.Duration, r Rate) Charge {
	unit := max(r.Unit, time.Second)
	if r.Unit == 0 {
		unit = time.Minute
	}
	units := max(1, begun(held, unit))
	c.Seconds = max(1, begun(held, time.Second))
	c.Billed = units * int64(unit/time.Second)
	c.Cost = Amount(Millionths(float64(units) * r.Price))
	c.Currency = r.Currency
	return c
}

// begun counts the units of d, the last one whole.
func begun(d, unit time.Duration) int64 {
	return int64((d + unit - 1) / unit)
}

// BySecond says whether CodeBuild bills such a place by the second: Lambda.
func BySecond(envType, size string) bool {
	return strings.Contains(strings.ToUpper(envType), "LAMBDA") || strings.Contains(strings.ToUpper(size), "LAMBDA")
}

// ChargeOf is the charge of a job that ended. One that never held a sandbox has
// none; one that ended before jobs were metered is metered now, at no price.
func (j *JobRun) ChargeOf() (c Charge, ok bool) {
	switch {
	case j.Charge != nil:
		return *j.Charge, true
	case j.Started.IsZero() || j.Ended.IsZero():
		return Charge{}, false
	}
	c = Charge{Executor: j.Environment.Executor, Size: j.Environment.Size}
	r := Rate{}
	if BySecond("", c.Size) {
		r.Unit = time.Second
	}
	return c.Meter(j.Ended.Sub(j.Started), r), true
}

// JobOf reads the job that an event is about.
func JobOf(e Event) (JobRun, error) {
	var j JobRun
	err := decode(e, &j)
	return j, err
}

// UsageRow is metered jobs, added up: those that agree in what they were grouped
// by. What they were not grouped by is "".
type UsageRow struct {
	Day      string  `json:"day,omitempty"`   // of the jobs' end, in UTC: 2026-11-22
	Month    string  `json:"month,omitempty"` // the same: 2026-11
	Project  string  `json:"project,omitempty"`
	Branch   string  `json:"branch,omitempty"` // refs/heads/main; what was asked for where that is all that is known
	User     string  `json:"user,omitempty"`   // who started the build
	Executor string  `json:"executor,omitempty"`
	Type     string  `json:"type,omitempty"`
	Size     string  `json:"size,omitempty"`
	Builds   int64   `json:"builds"`
	Jobs     int64   `json:"jobs"`
	Seconds  int64   `json:"seconds"`
	Minutes  float64 `json:"minutes"` // billed
	Cost     float64 `json:"cost"`
	Currency string  `json:"currency,omitempty"` // rows never mix two
}

// UsageKeys lists what usage can be grouped by.
func UsageKeys() []string {
	return []string{"day", "month", "project", "branch", "user", "executor", "type", "size"}
}

// With adds a command that ran in the job: what is a sum is added, of what is a
// peak the higher counts.
func (u Usage) With(command Usage) Usage {
	u.CPUSeconds += command.CPUSeconds
	u.PeakMemory = max(u.PeakMemory, command.PeakMemory)
	u.OOMKills += command.OOMKills
	u.PeakCPUs = max(u.PeakCPUs, command.PeakCPUs)
	u.DiskRead += command.DiskRead
	u.DiskWritten += command.DiskWritten
	u.NetIn += command.NetIn
	u.NetOut += command.NetOut
	return u
}

// Over puts what the sandbox says of itself over the sum of its commands, where it
// says something: it knows also of what the commands left running.
func (u Usage) Over(commands Usage) Usage {
	if u.CPUSeconds > 0 {
		commands.CPUSeconds = u.CPUSeconds
	}
	if u.OOMKills > 0 {
		commands.OOMKills = u.OOMKills
	}
	commands.PeakMemory = max(commands.PeakMemory, u.PeakMemory)
	return commands
}
