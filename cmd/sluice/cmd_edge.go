package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/agent/simulate"
)

func edgeCommand() *cobra.Command {
	c := &cobra.Command{Use: "edge", Short: "Work with agents at the edge"}
	c.AddCommand(edgeTokenCommand(), edgePublishCommand(), edgeExportCommand(), edgeSimulateCommand())
	return c
}

func edgeSimulateCommand() *cobra.Command {
	var cfg simulate.Config
	var asJSON bool
	c := &cobra.Command{
		Use:   "simulate --url URL --class CLASS",
		Short: "Simulate many agents, to find out what nodes take",
		Long: `Simulate many agents, to find out what nodes take. They report, believe to have carried
out what they are told, and acknowledge it; nothing runs in them.

EXIT STATUS
  0 if no report failed, 1 otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !asJSON {
				cfg.Progress = func(r simulate.Report) {
					fmt.Fprintf(os.Stderr, "\r%8d heartbeats, %7.0f/s, p99 %s, %d failed ", r.Heartbeats, r.Rate, r.P99.Round(100*time.Microsecond), r.Failed)
				}
			}
			r, err := simulate.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd, r)
			} else {
				fmt.Fprintln(os.Stderr)
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d heartbeats in %s: %.0f/s; p50 %s, p99 %s, longest %s; %d failed; operations %v\n",
					r.Heartbeats, r.Elapsed.Round(time.Millisecond), r.Rate, r.P50, r.P99, r.Max, r.Failed, r.Operations)
			}
			if err == nil && r.Failed > 0 {
				err = fmt.Errorf("%d reports failed; the last: %s", r.Failed, r.LastError)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.URLs, "url", nil, "address of a node's API for agents, such as http://127.0.0.1:10090/efm/api; may be given several times")
	f.StringVar(&cfg.Class, "class", "", "agent class")
	f.StringVar(&cfg.Prefix, "prefix", "sim-", "what the agents' ids begin with")
	f.IntVar(&cfg.Agents, "agents", 1000, "how many agents")
	f.DurationVar(&cfg.Period, "period", 10*time.Second, "time between two heartbeats of an agent")
	f.DurationVar(&cfg.Duration, "duration", 30*time.Second, "how long; 0 until it is interrupted")
	f.IntVar(&cfg.Connections, "connections", 64, "the most requests that are under way at once")
	f.BoolVar(&cfg.Burst, "burst", false, "send the first heartbeats of all agents at once")
	f.BoolVar(&cfg.Roam, "roam", false, "report to the next node every time, as behind a balancer that keeps nobody")
	f.BoolVar(&asJSON, "json", false, "print JSON, and no progress")
	return c
}
