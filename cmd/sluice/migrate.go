package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func newMigrate() *cobra.Command {
	var from, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "migrate --from DATABASE --to DATABASE", Short: "Take a server's database to PostgreSQL, or back", Args: cobra.NoArgs,
		Long: `Migrate copies every table of one database into another, which no server may have
used yet, reads them again and compares. The other one is whole in the end or as it
was. Stop the server first: what it writes after the copy began is not in it. Then
start it with --database naming the other one, and the same data folder.

A database is sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME. An address with a
password is better given in SLUICE_MIGRATE_FROM or SLUICE_MIGRATE_TO, since every
user of a machine can read arguments.`,
		Example: "  sluice migrate --from sqlite:/srv/sluice/sluice.db --to postgres://ci@db.example.com/sluice\n  sluice migrate --from postgres://ci@db.example.com/sluice --to sqlite:/srv/sluice/sluice.db",
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, to = orEnvironment(from, "SLUICE_MIGRATE_FROM"), orEnvironment(to, "SLUICE_MIGRATE_TO")
			if from == "" || to == "" {
				return usagef("want --from and --to, each sqlite:PATH or postgres://USER@HOST/NAME")
			}
			done, err := migrate(cmd.Context(), from, to)
			if errors.Is(err, ci.ErrConflict) || errors.Is(err, ci.ErrNotFound) {
				return &exitError{code: exitFailed, err: err}
			}
			if errors.Is(err, ci.ErrInvalid) {
				return &exitError{code: exitUsage, err: err}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, done)
			}
			rows := [][]string{{"TABLE", "ROWS"}}
			for _, name := range slices.Sorted(maps.Keys(done.Rows)) {
				rows = append(rows, []string{name, fmt.Sprint(done.Rows[name])})
			}
			if err := table(cmd.OutOrStdout(), rows); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "all of schema version %d was copied and compared\n", done.Schema)
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`DATABASE` to copy [SLUICE_MIGRATE_FROM]")
	cmd.Flags().StringVar(&to, "to", "", "`DATABASE` to fill [SLUICE_MIGRATE_TO]")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the numbers of rows as JSON")
	return cmd
}

// orEnvironment is a flag's value, or else that of a variable. It is no default,
// since those are shown.
func orEnvironment(value, name string) string {
	if value != "" {
		return value
	}
	return os.Getenv(name)
}

// migrate copies a database into another through a pipe.
func migrate(ctx context.Context, from, to string) (store.Copied, error) {
	s, err := store.OpenSnapshot(ctx, from)
	if err != nil {
		return store.Copied{}, err
	}
	defer func() { _ = s.Close() }() // it was only read
	r, w := io.Pipe()
	dumped := make(chan error, 1)
	go func() {
		_, err := s.Dump(ctx, w)
		_ = w.CloseWithError(err)
		dumped <- err
	}()
	done, err := store.LoadDump(ctx, to, r)
	_ = r.CloseWithError(errors.New("the other database takes no more"))
	if derr := <-dumped; err == nil {
		err = derr
	}
	return done, err
}
