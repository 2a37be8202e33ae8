package source

import (
	"context"
	"io"

	"github.com/sluice-ci/sluice/internal/ci"
)

func (f *Fetcher) resolveGit(ctx context.Context, s ci.Source) (ci.Commit, error) {
	return ci.Commit{}, nil
}
func (f *Fetcher) readGitFile(ctx context.Context, s ci.Source, c ci.Commit, path string) ([]byte, error) {
	return nil, nil
}
func (f *Fetcher) archiveGit(ctx context.Context, s ci.Source, c ci.Commit, w io.Writer) error {
	return nil
}
