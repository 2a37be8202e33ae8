package ci

import "fmt"

// Sequel is something that has come of a build and is still to be done. It is
// stored with what it came of, so that it is done however often a process is killed.
type Sequel struct {
	ID      int64
	Build   BuildID
	Kind    SequelKind
	Project string // SequelAfter: the one to build
}

// SequelKind says what is to be done.
type SequelKind string

// Kinds of Sequel.
const (
	SequelRetry     SequelKind = "retry"     // it failed, and may be tried again
	SequelAfter     SequelKind = "after"     // it succeeded, and another project is built after it
	SequelSupersede SequelKind = "supersede" // it began, and older builds of its branch are of no use any more
)

// Which builds of a branch end when a newer one begins, as Limits.Supersede has it.
const (
	SupersedeNone   = ""       // none
	SupersedeQueued = "queued" // those that have not begun
	SupersedeAll    = "all"    // those that run too
)

// What becomes of a build whose project has as many as it may, as Limits.WhenFull has it.
const (
	WhenFullQueue  = "" // it waits
	WhenFullRefuse = "refuse"
)

// MaxAutoRetry is how often a build may be tried again by itself.
const MaxAutoRetry = 10

// BuildRef names a build of any project.
type BuildRef struct {
	ID      BuildID `json:"id"`
	Project string  `json:"project"`
	Number  int64   `json:"number"`
}

// NoRoom is the ErrConflict of a build that a project has no room for.
type NoRoom struct {
	Project string
	Builds  int // that it may have at once
}

func (f *NoRoom) Error() string {
	return fmt.Sprintf("project %q: %d of its builds are not done, which is as many as it may have, and it refuses more: wait for one to end, or stop one", f.Project, f.Builds)
}

// Unwrap makes it an ErrConflict.
func (f *NoRoom) Unwrap() error { return ErrConflict }
