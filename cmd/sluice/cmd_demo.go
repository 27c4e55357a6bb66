package main

import (
	"os"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/demo"
)

func demoCommand() *cobra.Command {
	o := demo.Options{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Do the main job end to end on real data, and prove that nothing was lost",
		Long: `Start a node on free ports in a fresh directory, send real events through its gate, kill it in
the middle, start it again, and ask the events in SQL. Everything goes through the public
interfaces, as a user would do it.

EXIT STATUS
  0 if every acknowledged event is in SQL once; 1 on any difference.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program, o.Out = self, cmd.OutOrStdout()
			return demo.Run(cmd.Context(), o)
		},
	}
	c.Flags().IntVar(&o.Events, "events", 200_000, "how many events to post")
	c.Flags().BoolVar(&o.Keep, "keep", false, "leave the node running and print what to try")
	c.Flags().StringVar(&o.Data, "data", "", "data directory (default: a new one)")
	return c
}
