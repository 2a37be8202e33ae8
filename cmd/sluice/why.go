package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

func newWhy() *cobra.Command {
	var asJSON bool
	cmd := oneBuild("why", "Say why a build went as it did", "  sluice why app/12\n  sluice why app/12 --json",
		func(ctx context.Context, c *client.Client, cmd *cobra.Command, project string, number int64) error {
			list, err := c.Why(ctx, project, number)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, list)
			}
			for _, b := range list {
				who := "build"
				if b.Job != "" {
					who = "job " + b.Job
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s %s\n", b.Time.Local().Format("2006-01-02 15:04:05.000"), printable(who), printable(strings.TrimSpace(b.Text))); err != nil {
					return err
				}
			}
			return nil
		})
	cmd.Long = `Why tells the decisions about a build in order, each with its time: who asked for it,
what its source and definition turned out to be, what each job waited for and how
long, why it began or never did, which caches were looked for and found, who stopped
it, and how it ended. Of a build that waits, the last line says for what.`
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON, with the conditions that were looked at")
	return cmd
}
