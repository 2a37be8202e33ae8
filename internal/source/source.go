// Package source gets what is built: a directory as it is, a commit from git, or
// a work tree that a user sent.
// It implements ci.Fetcher.
//
// It owns the mirrors of git repositories in its cache folder, and how a
// repository is asked, which is with the real git. It does not own where the
// source goes: it writes a tar.
//
// Invariant: nothing that a repository, a URL or a ref says makes it run a
// program or reach outside of what was named, and no credential gets into an
// argument list, a file or an error.
package source

import (
	"context"
	"fmt"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Types of ci.Source that this package fetches.
const (
	TypeDirectory = "directory"
	TypeGit       = "git"
)

// Options of a Fetcher.
type Options struct {
	// Cache is the folder that keeps mirrors of git repositories from build to
	// build. It may be shared by any number of processes. Needed for git sources.
	Cache string
	// Exclude lists files and folders that are not part of a directory source,
	// such as the output of builds: absolute, or relative to the directory.
	Exclude []string
	// Depth limits how much history a git checkout carries; 0 = all of it.
	Depth int
	// Submodules checks out the submodules of a git source as well, to any depth.
	Submodules bool
	// Credentials gives the user name and password for a repository; empty for
	// none. It is asked once for each contact, with a URL without user and password.
	Credentials func(ctx context.Context, url string) (user, password string, err error)
	// Uploads are the work trees that users sent; nil = there are none.
	Uploads *Uploads
	// Git is the git program; "" = git from PATH.
	Git string
}

// Fetcher fetches source. It is safe from several goroutines.
type Fetcher struct {
	opt     Options
	waiting func() // tests learn by it that somebody else has the lock
}

var _ ci.Fetcher = (*Fetcher)(nil)

// New makes a Fetcher. Nothing is touched before the first source is asked for.
func New(opt Options) *Fetcher {
	if opt.Git == "" {
		opt.Git = "git"
	}
	return &Fetcher{opt: opt}
}

// Resolve tells what state of the source a build would be of. A directory
// outside git gives the zero Commit.
func (f *Fetcher) Resolve(ctx context.Context, s ci.Source) (ci.Commit, error) {
	switch s.Type {
	case TypeDirectory:
		return f.resolveDir(ctx, s.Location)
	case TypeGit:
		return f.resolveGit(ctx, s)
	case TypeUpload:
		return f.resolveUpload(ctx, s)
	}
	return ci.Commit{}, unknownType(s)
}

// ReadFile reads one file of the source, by its slash path from the top. Links
// are followed as long as they stay in the tree.
func (f *Fetcher) ReadFile(ctx context.Context, s ci.Source, c ci.Commit, path string) ([]byte, error) {
	switch s.Type {
	case TypeDirectory:
		return readDirFile(s.Location, path)
	case TypeGit:
		return f.readGitFile(ctx, s, c, path)
	case TypeUpload:
		return f.readUploadFile(ctx, s, path)
	}
	return nil, unknownType(s)
}

// Archive writes the work tree as a tar: sorted within each directory, all owned
// by 0:0, .git with it where there is one.
func (f *Fetcher) Archive(ctx context.Context, s ci.Source, c ci.Commit, tar io.Writer) error {
	switch s.Type {
	case TypeDirectory:
		return f.archiveDir(ctx, s.Location, tar)
	case TypeGit:
		return f.archiveGit(ctx, s, c, tar)
	case TypeUpload:
		return f.archiveUpload(ctx, s, tar)
	}
	return unknownType(s)
}

func unknownType(s ci.Source) error {
	return fmt.Errorf("source type %q: use %q, %q or %q: %w", s.Type, TypeDirectory, TypeGit, TypeUpload, ci.ErrInvalid)
}
