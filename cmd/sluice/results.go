package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
)

func newArtifact() *cobra.Command {
	cmd := &cobra.Command{
		Use: "artifact", Short: "The artifacts of a build",
		Example: "  sluice artifact list app/12\n  sluice artifact get app/12 --output out",
	}
	cmd.AddCommand(newArtifactList(), newArtifactGet())
	return cmd
}

func newArtifactList() *cobra.Command {
	var asJSON bool
	cmd := oneBuild("list", "List the artifacts of a build", "  sluice artifact list app/12 --json",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			all, err := c.Artifacts(ctx, project, number)
			if err != nil {
				return err
			}
			if asJSON {
				if all == nil {
					all = []client.JobArtifact{}
				}
				return writeJSON(cmd, all)
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), noArtifacts(project, number))
				return nil
			}
			rows := [][]string{{"NAME", "JOB", "FILES", "SIZE", "SHA-256", "+FORMAT", "+MD5", "+PATH"}}
			for _, a := range all {
				rows = append(rows, []string{a.Name, a.Job, fmt.Sprint(a.Files), show.Bytes(a.Size), a.SHA256, a.Format, a.MD5, a.Open})
			}
			return table(cmd.OutOrStdout(), rows)
		})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func noArtifacts(project string, number int64) string {
	return fmt.Sprintf("build %s/%d has no artifacts; the section artifacts of its buildspec says which files are kept", project, number)
}

func newArtifactGet() *cobra.Command {
	var dir, name, format string
	var whole bool
	cmd := oneBuild("get", "Download the artifacts of a build", "  sluice artifact get app/12 --output out\n  sluice artifact get app/12 --name dist\n  sluice artifact get app/12 --all --format tar",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			switch {
			case format != "zip" && format != "tar":
				return usagef("--format %q: want zip or tar", format)
			case whole && name != "":
				return usagef("--all and --name exclude each other")
			case whole:
				return downloadAll(ctx, c, cmd, project, number, format, dir)
			}
			all, err := c.Artifacts(ctx, project, number)
			if err != nil {
				return err
			}
			got := 0
			for _, a := range all {
				if name != "" && a.Name != name {
					continue
				}
				got++
				if err := download(ctx, c, cmd, project, number, a, dir); err != nil {
					return err
				}
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), noArtifacts(project, number))
			}
			if got == 0 && name != "" {
				return usagef("build %s/%d has no artifact %q; 'sluice artifact list %s/%d' names those that it has", project, number, name, project, number)
			}
			return nil
		})
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "`DIR` to put them in, made if missing")
	cmd.Flags().StringVar(&name, "name", "", "this one only")
	cmd.Flags().BoolVar(&whole, "all", false, "all in one file, PROJECT-NUMBER.zip, with a folder for each job")
	cmd.Flags().StringVar(&format, "format", "zip", "of that file: zip or tar")
	return cmd
}

// downloadAll puts all artifacts into one file below dir. It has its name once it
// is whole.
func downloadAll(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64, format, dir string) error {
	from, err := c.Archive(ctx, project, number, format)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%d.%s", project, number, format))
	to, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err == nil {
		err = os.Rename(to.Name(), path)
	}
	if err != nil {
		_ = os.Remove(to.Name())
		return fmt.Errorf("download %s: %w", path, err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", path, show.Bytes(n))
	return err
}

// download puts an artifact below dir. Names are the server's word, so nothing
// of them may lead out of it.
func download(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64, a client.JobArtifact, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	files := []client.Entry{{Size: a.Size}}
	base := filepath.FromSlash(strings.TrimPrefix(a.Path, "artifacts/"))
	if a.Format == "folder" {
		files = a.Entries
	}
	for _, e := range files {
		open, path := a.Open, base
		if e.Path != "" {
			open, path = a.Open+"/"+e.Path, filepath.Join(base, filepath.FromSlash(e.Path))
		}
		if err := fetch(ctx, c, project, number, open, root, path); err != nil {
			return fmt.Errorf("artifact %s: %w", a.Name, err)
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", filepath.Join(dir, path), show.Bytes(e.Size)); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, c *client.Client, project string, number int64, open string, root *os.Root, path string) error {
	from, err := c.OpenArtifact(ctx, project, number, open)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	if parent := filepath.Dir(path); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	to, err := root.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	if err == nil && from.Size >= 0 && n != from.Size {
		err = fmt.Errorf("%d bytes came of %d", n, from.Size)
	}
	if err = errors.Join(err, to.Close()); err != nil {
		_ = root.Remove(path)
	}
	return err
}
