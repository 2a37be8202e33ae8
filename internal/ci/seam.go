package ci

import (
	"context"
	"io"
	"time"
)

// Definition is a text to compile and what compiling may look at.
type Definition struct {
	Path       string // in the source, for messages: "buildspec.yml"
	Text       []byte
	Batch      bool                              // compile the batch section
	Parameters map[string]string                 // variables given from outside, for $NAME in runtime-versions and the like
	Read       func(path string) ([]byte, error) // other files of the same source; nil = none
}

// FrontEnd turns one definition format into a plan. It is pure: the same
// Definition gives the same Plan. What is wrong with the text comes back as
// Problems, all of them at once; then the plan is nil. A plan that compiles
// carries its warnings.
type FrontEnd interface {
	Name() string
	Files() []string // file names it answers to, most wanted first
	Compile(Definition) (*Plan, error)
}

// Placement asks an executor for a sandbox.
type Placement struct {
	Job          JobID
	Runtime      Runtime
	Secrets      map[string]string                              // registry credentials and the like, never stored: "registry:<host>" = "user:password"
	Log          io.Writer                                      // what a person waiting for it wants to read: pulling, building; nil = nobody
	BuildContext func(ctx context.Context, tar io.Writer) error // the source, for Runtime.Dockerfile
}

// Executor gives jobs a place to run.
//
// Open finds the sandbox of the job or makes it; calling it again after the
// process was killed finds the same one, with its steps still running. Sweep
// removes what no live job owns. Both are safe from several goroutines and
// from several processes at once.
type Executor interface {
	Name() string // local, docker
	Open(ctx context.Context, p Placement) (Sandbox, error)
	Sweep(ctx context.Context, live func(JobID) bool) error
}

// Sandbox is one job's place: a file system, a network, limits. All processes
// in it end with it. Its methods are safe from several goroutines.
type Sandbox interface {
	// Fresh says that this Open made it. A job that had begun before is then lost.
	Fresh() bool
	// Placed says where this is; the same answer after a re-attach.
	Placed() Placed
	// Dirs are the absolute paths, in the sandbox, of the source tree, of HOME and of temporary files.
	Dirs() Dirs
	// Start runs the command, or finds the one already started under the same ID,
	// running or ended, and then leaves the rest of Command unread.
	Start(ctx context.Context, c Command) (Process, error)
	// Put unpacks a tar below dir (made if missing). Names and links that lead
	// outside dir are refused with ErrInvalid; with dir "/" names may be absolute.
	Put(ctx context.Context, dir string, tar io.Reader) error
	// Get packs the chosen files, in sorted order, names relative to the base
	// (absolute globs keep their name without the leading slash). The answer
	// says what was matched. Nothing matched is not an error.
	Get(ctx context.Context, set FileSet, tar io.Writer) (Matched, error)
	// Usage so far.
	Usage(ctx context.Context) (Usage, error)
	// Close ends every process in it and removes it. Closing twice is fine.
	Close(ctx context.Context) error
}

// Dirs of a sandbox.
type Dirs struct {
	Source string `json:"source"` // CODEBUILD_SRC_DIR
	Home   string `json:"home"`
	Temp   string `json:"temp"`
}

// Matched says what a FileSet chose.
type Matched struct {
	Files     int      `json:"files"`
	Bytes     int64    `json:"bytes"`
	Bases     []string `json:"bases,omitempty"`     // directories that Base matched
	Unmatched []string `json:"unmatched,omitempty"` // globs that matched nothing
	Problems  []string `json:"problems,omitempty"`  // files that could not be read, links that lead outside
}

// Command is one script to run in a sandbox.
//
// With Session set, the script starts in the working directory and with the
// shell variables (exported or not) in which the last script of that session
// ended; Env then only fills in and overrides. Without, it starts in Dir with
// Env alone. Standard input is empty unless the command is interactive.
type Command struct {
	ID      StepID
	Script  string   // text for Shell; the only way in: nothing of it is ever in an argv
	Shell   string   // "sh", "bash" or an absolute path
	Env     []string // NAME=VALUE, later wins
	Dir     string   // "" = Dirs.Source
	User    string   // name or uid[:gid]; "" = the sandbox's root
	Session string   // "" = none
	Capture bool     // standard error apart, into the void: Output is standard output only
}

// Process is a started command.
type Process interface {
	// Output replays from a byte of the raw output, then follows; EOF when the command has ended.
	Output(ctx context.Context, from int64) (io.ReadCloser, error)
	// Wait gives the result. An error means that it cannot be known (the sandbox is gone).
	Wait(ctx context.Context) (Exit, error)
	// Stop asks nicely (SIGTERM to all of the command's processes), after grace with SIGKILL.
	Stop(ctx context.Context, grace time.Duration) error
}

// Exit is how a command ended.
type Exit struct {
	Code   int       `json:"code"`             // 128+signal when a signal ended it
	Signal string    `json:"signal,omitempty"` // "killed"
	OOM    bool      `json:"oom,omitempty"`    // the kernel killed a process of it at the memory limit
	Ended  time.Time `json:"ended"`
	Usage  Usage     `json:"usage,omitzero"`
}

// Interactive is a sandbox one can open a terminal in.
type Interactive interface {
	// Terminal runs argv on a pseudo-terminal, joined to the given streams, until it ends.
	// With session set it stands where that session's last script ended.
	Terminal(ctx context.Context, t Terminal) (Exit, error)
}

// Terminal describes an interactive command.
type Terminal struct {
	Shell   string
	Env     []string
	User    string
	Session string
	In      io.Reader
	Out     io.Writer
	Size    <-chan [2]uint16 // columns, rows; the first at once
}

// Fetcher gets source: a directory, git, later S3 and uploads.
type Fetcher interface {
	Resolve(ctx context.Context, s Source) (Commit, error)
	ReadFile(ctx context.Context, s Source, c Commit, path string) ([]byte, error)
	// Archive writes the work tree as a tar, .git included where there is one.
	Archive(ctx context.Context, s Source, c Commit, tar io.Writer) error
}

// Blob is stored bytes.
type Blob struct {
	Key    string    `json:"key"`
	Size   int64     `json:"size"`
	SHA256 string    `json:"sha256"` // hex
	Time   time.Time `json:"time"`   // when it was put
}

// Blobs keeps big bytes by key. Keys are slash paths without "." and ".."
// components. Put is atomic: a reader sees the old bytes or the new. Open fails
// with ErrNotFound, and the reader with ErrInvalid at its end when the bytes are
// not those that were put.
type Blobs interface {
	Put(ctx context.Context, key string, r io.Reader) (Blob, error)
	Open(ctx context.Context, key string, from int64) (io.ReadCloser, Blob, error)
	List(ctx context.Context, prefix string, f func(Blob) error) error // in key order
	Delete(ctx context.Context, prefix string) error
}

// LogWriter takes one step's raw output. What Write has taken is masked and
// visible to readers by the time Close returns, most of it much sooner.
type LogWriter interface {
	io.WriteCloser
	Raw() int64 // raw bytes taken so far, also by earlier writers of the same step
}

// Logs keeps step output. Append continues where the last durable append ended:
// the log is cut back to it, and Raw says from which raw byte to go on.
type Logs interface {
	Append(ctx context.Context, step StepID, mask []string) (LogWriter, error)
	// Tail reads from a byte of the masked log and follows until the step is sealed.
	Tail(ctx context.Context, step StepID, from int64) (io.ReadCloser, error)
	Seal(ctx context.Context, step StepID) error
}

// SecretSource looks up secrets by reference.
type SecretSource interface {
	// Lookup answers ErrNotFound for a name it does not know, and ErrUnavailable
	// when it cannot be asked (no credentials).
	Lookup(ctx context.Context, kind VariableKind, ref string) (string, error)
}
