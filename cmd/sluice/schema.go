package main

import (
	_ "embed"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/internal/frontend/buildspec"
)

// eventSchema describes the lines of sluice run --json. A test holds real lines
// against it.
//
//go:embed events.schema.json
var eventSchema []byte

func newSchema() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print JSON Schemas for editors and programs",
		Example: `  sluice schema buildspec > buildspec.schema.json
  sluice schema events`,
	}
	print := func(use, short string, schema func() []byte) {
		cmd.AddCommand(&cobra.Command{
			Use: use, Short: short, Args: cobra.NoArgs,
			Example: "  sluice schema " + use,
			RunE: func(cmd *cobra.Command, _ []string) error {
				text := schema()
				if len(text) == 0 || text[len(text)-1] != '\n' {
					text = append(text, '\n')
				}
				_, err := cmd.OutOrStdout().Write(text)
				return err
			},
		})
	}
	print("buildspec", "Schema of a buildspec.yml", buildspec.Schema)
	print("events", "Schema of the lines of 'sluice run --json'", func() []byte { return eventSchema })
	return cmd
}
