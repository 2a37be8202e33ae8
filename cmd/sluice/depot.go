package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/depot"
)

// settled reads the configuration of a command that works on what a server keeps.
func settled(cmd *cobra.Command) (serverConfig, error) {
	all, err := readConfig(cmd.Flags(), os.LookupEnv)
	if err != nil {
		return serverConfig{}, err
	}
	return serverConfigOf(all)
}

// keptAt is where the server of that configuration keeps what it keeps.
func keptAt(ctx context.Context, cfg serverConfig) (depot.Place, error) {
	p := depot.Place{Data: cfg.data, Database: cfg.database}
	if info, err := os.Stat(cfg.data); err != nil || !info.IsDir() {
		return p, usagef("%s is no data folder of a server; name one with --data", cfg.data)
	}
	if blob.IsS3(cfg.blobs) {
		at, err := blob.ParseAddress(cfg.blobs)
		if err == nil {
			p.Blobs, err = blob.OpenS3(ctx, at, filepath.Join(cfg.data, "tmp"))
		}
		return p, err
	}
	p.Folder = cfg.blobs
	blobs, err := blob.OpenDir(cfg.blobs)
	p.Blobs = blobs
	return p, err
}

func newFsck() *cobra.Command {
	var asJSON, repair bool
	cmd := &cobra.Command{
		Use: "fsck", Short: "Check all that a server keeps", Args: cobra.NoArgs,
		Long: `Fsck reads what a server keeps and says what of it is missing, damaged, or belongs
to nothing: the database, the record of every build, the bytes of every artifact
against their checksums, the logs. It takes the settings of sluice serve. The server
may run meanwhile; fsck changes nothing, unless --repair has it remove what belongs
to no build.

It ends with 0 when all is well, with 1 when something is wrong and still is, and
with 3 when it could not find out.`,
		Example: "  sluice fsck --data /srv/sluice\n  sluice fsck --data /srv/sluice --repair --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := settled(cmd)
			if err != nil {
				return err
			}
			p, err := keptAt(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			r, err := depot.Check(cmd.Context(), p, repair)
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd, r)
			} else {
				err = showReport(cmd.OutOrStdout(), r)
			}
			if err == nil && r.Open() > 0 {
				err = said(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "remove what belongs to no build")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	placeFlags(cmd)
	return cmd
}

// placeFlags are the settings of sluice serve that say where it keeps what it keeps.
func placeFlags(cmd *cobra.Command) {
	configFlags(cmd.Flags(), os.LookupEnv)
	for _, s := range settings(os.LookupEnv) {
		switch s.name {
		case "data", "database", "blobs":
		default:
			_ = cmd.Flags().MarkHidden(s.name) // it is there
		}
	}
}

func showReport(w io.Writer, r *depot.Report) error {
	for _, p := range r.Problems {
		build := p.Name
		if build == "" {
			build = string(p.Build)
		}
		if build != "" {
			build = " " + build
		}
		done := ""
		if p.Repaired {
			done = "; removed"
		}
		if _, err := fmt.Fprintf(w, "%s%s: %s%s\n", p.Kind, build, p.What, done); err != nil {
			return err
		}
	}
	verdict := "all is well"
	if n := r.Open(); n > 0 {
		verdict = fmt.Sprintf("%d wrong", n)
		if !hasOther(r) {
			verdict += "; --repair removes what belongs to no build"
		} else {
			verdict += "; what is missing or damaged comes back only from a backup (sluice restore)"
		}
	}
	_, err := fmt.Fprintf(w, "%d builds, %d artifacts, %d logs, %s verified: %s\n", r.Builds, r.Artifacts, r.Logs, show.Bytes(r.Bytes), verdict)
	return err
}

// hasOther says whether something is wrong that no repair removes.
func hasOther(r *depot.Report) bool {
	for _, p := range r.Problems {
		if p.Kind != depot.Orphan {
			return true
		}
	}
	return false
}

func newBackup() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use: "backup FILE|-", Short: "Pack all that a server keeps into one file", Args: cobra.ExactArgs(1),
		Long: `Backup writes the database, artifacts, logs and all else that a server keeps, as it
is at one moment, to a file or to standard output. The server may run meanwhile. It
takes the settings of sluice serve. Caches and copies of sources are left out: they
are made again.

The keys are left out too, so that a stolen backup opens nothing: DATA/master.key,
which opens the stored secrets, and DATA/admin-token. Keep a copy of them elsewhere;
without the master key the secrets of a backup are lost. --keys puts them in.`,
		Example: "  sluice backup --data /srv/sluice /backup/sluice.tar.zst\n  sluice backup --data /srv/sluice - | ssh backup 'cat >sluice.tar.zst'",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := settled(cmd)
			if err != nil {
				return err
			}
			p, err := keptAt(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			begin := time.Now()
			var c *depot.Contents
			write := func(w io.Writer) error {
				c, err = depot.Backup(cmd.Context(), p, w, depot.Options{Version: version, Keys: keys})
				return err
			}
			if args[0] == "-" {
				err = write(cmd.OutOrStdout())
			} else {
				err = writeWhole(args[0], write)
			}
			if err != nil {
				return err
			}
			for _, note := range c.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "backed up %d builds, %s in %d files, in %s\n", c.Builds, show.Bytes(c.Bytes()), len(c.Entries), time.Since(begin).Round(10*time.Millisecond))
			if !keys {
				fmt.Fprintf(cmd.ErrOrStderr(), "the keys are not in it: keep %s and %s elsewhere\n", filepath.Join(cfg.data, "master.key"), filepath.Join(cfg.data, "admin-token"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "put the master key and the admin's token in too")
	placeFlags(cmd)
	return cmd
}

// writeWhole puts a file in place when it is written to its end, readable for its
// owner alone.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // 0600
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func newRestore() *cobra.Command {
	var check, asJSON bool
	cmd := &cobra.Command{
		Use: "restore FILE|-", Short: "Make a server's state of a backup", Args: cobra.ExactArgs(1),
		Long: `Restore unpacks what sluice backup made, verifies all of it, and puts it in place:
the data folder must not be there or be empty, the database and the place of the
blobs must not have been used. Nothing is replaced. A backup may be restored to
another kind of database, and to other blobs, than it was made of; one of an earlier
release is upgraded when the server starts.

Builds that ran when the backup was made are taken up as after a crash. Put
DATA/master.key and DATA/admin-token back before the server starts, if they are not
in the backup. --check only verifies.`,
		Example: "  sluice restore /backup/sluice.tar.zst --data /srv/sluice\n  sluice restore --check /backup/sluice.tar.zst\n  sluice restore sluice.tar.zst --data /srv/sluice --database postgres://ci@db/sluice",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := settled(cmd)
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usagef("%w", err)
				}
				defer f.Close()
				in = f
			}
			var done *depot.Restored
			what := "verified a backup"
			if check {
				done, err = depot.Verify(cmd.Context(), in, "")
			} else {
				what = "restored " + cfg.data
				done, err = restoreTo(cmd.Context(), in, cfg)
			}
			if errors.Is(err, ci.ErrConflict) || errors.Is(err, ci.ErrInvalid) {
				return &exitError{code: exitFailed, err: err}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, done)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s of %s (schema %d, sluice %s): %d builds, %s in %d files\n", what,
				done.Head.Time.Local().Format("2006-01-02 15:04:05"), done.Head.Schema, done.Head.Version, done.Contents.Builds, show.Bytes(done.Contents.Bytes()), len(done.Contents.Entries))
			if err == nil && !check && !done.Head.Keys {
				fmt.Fprintf(cmd.ErrOrStderr(), "put %s and %s back before the server starts\n", filepath.Join(cfg.data, "master.key"), filepath.Join(cfg.data, "admin-token"))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "verify the backup and restore nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was restored as JSON")
	placeFlags(cmd)
	return cmd
}

func restoreTo(ctx context.Context, in io.Reader, cfg serverConfig) (*depot.Restored, error) {
	to := depot.Target{Data: cfg.data, Database: cfg.database}
	if blob.IsS3(cfg.blobs) {
		at, err := blob.ParseAddress(cfg.blobs)
		if err == nil {
			to.Blobs, err = blob.OpenS3(ctx, at, os.TempDir())
		}
		if err != nil {
			return nil, err
		}
	} else if cfg.sharesBlobs() {
		blobs, err := blob.OpenDir(cfg.blobs)
		if err != nil {
			return nil, err
		}
		to.Blobs = blobs
	}
	return depot.Restore(ctx, in, to)
}
