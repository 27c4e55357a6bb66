package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/service/cluster"
)

func clusterCommand() *cobra.Command {
	n := new(console)
	c := &cobra.Command{Use: "cluster", Short: "Tell how a cluster does, and make its certificates"}
	n.flags(c)
	c.AddCommand(clusterStatusCommand(n), clusterCACommand())
	return c
}

func clusterStatusCommand(n *console) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Tell how the cluster does",
		Long: `Tell how the cluster does: its nodes by state, who holds which lease, and what an
operator should know.

EXIT STATUS
  0 if there is nothing to warn of, 2 if there is, 1 if the node could not be asked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out cluster.Status
			if err := n.call(cmd.Context(), http.MethodGet, "/api/v1/cluster", nil, &out); err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(cmd, out); err != nil {
					return err
				}
			} else if err := printStatus(cmd, out); err != nil {
				return err
			}
			if len(out.Warnings) > 0 {
				return exit(2)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printStatus(cmd *cobra.Command, s cluster.Status) error {
	var nodes []string
	for _, state := range slices.Sorted(maps.Keys(s.Nodes)) {
		nodes = append(nodes, fmt.Sprintf("%d %s", s.Nodes[state], state))
	}
	w := cmd.OutOrStdout()
	name := s.Cluster
	if name == "" {
		name = "none: this node is alone"
	}
	fmt.Fprintf(w, "cluster   %s\nnodes     %s\nrevision  %d, the database last answered %s ago\n", name, strings.Join(nodes, ", "), s.Revision, s.Silence.Truncate(time.Millisecond))
	for _, l := range s.Leases {
		fmt.Fprintf(w, "lease     %s: %s since %s\n", l.Name, l.Node, l.Since.Local().Format(time.DateTime))
	}
	for _, warning := range s.Warnings {
		if _, err := fmt.Fprintf(w, "warning   %s\n", warning); err != nil {
			return err
		}
	}
	return nil
}
