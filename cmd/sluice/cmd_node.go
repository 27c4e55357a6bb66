package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/service/cluster"
)

const nodesPath = "/api/v1/cluster/nodes"

func nodeCommand() *cobra.Command {
	n := new(console)
	c := &cobra.Command{
		Use:   "node",
		Short: "List the nodes of a cluster, and tell them to take no work",
		Long: `List the nodes of a cluster, and tell them to take no work. Any node answers for all.

A cordoned node takes no leases and tells load balancers that it is not ready; what is under
way goes on. A drained node closes its connections too, as soon as nothing is under way.`,
	}
	n.flags(c)
	c.AddCommand(nodeListCommand(n), nodeInfoCommand(n),
		nodeOrderCommand(n, "cordon", "Tell a node to take no new work"),
		nodeOrderCommand(n, "uncordon", "Let a node take work again"),
		nodeDrainCommand(n), nodeForgetCommand(n))
	return c
}

func nodeListCommand(n *console) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the nodes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out struct{ Nodes []cluster.Node }
			if err := n.call(cmd.Context(), http.MethodGet, nodesPath, nil, &out); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd, out.Nodes)
			}
			var rows [][]string
			for _, n := range out.Nodes {
				rows = append(rows, []string{n.Name, n.IP, n.State, cmp.Or(n.Health, "healthy"), n.Version, fmt.Sprint(n.Lag), fmt.Sprint(len(n.Leases)), orDash(strings.Join(n.Roles, ",")),
					time.Since(n.Started).Truncate(time.Second).String()})
			}
			return table(cmd.OutOrStdout(), []string{"NODE", "IP", "STATE", "HEALTH", "VERSION", "LAG", "LEASES", "ROLES", "AGE"}, rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func nodeInfoCommand(n *console) *cobra.Command {
	return &cobra.Command{
		Use:   "info NODE",
		Short: "Tell all that is known of a node, as JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out cluster.Node
			if err := n.call(cmd.Context(), http.MethodGet, nodesPath+"/"+url.PathEscape(args[0]), nil, &out); err != nil {
				return err
			}
			return printJSON(cmd, out)
		},
	}
}

func nodeOrderCommand(n *console, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NODE",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var out cluster.Node
			if err := n.call(cmd.Context(), http.MethodPost, nodesPath+"/"+url.PathEscape(args[0])+"/"+verb, nil, &out); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", out.Name, out.State)
			return err
		},
	}
}

func nodeDrainCommand(n *console) *cobra.Command {
	var within time.Duration
	c := &cobra.Command{
		Use:   "drain NODE",
		Short: "Tell a node to end what it has under way, and wait for it",
		Long: `Tell a node to end what it has under way, and wait for it. The node can be stopped then
without a failed request. "sluice node uncordon" takes the order back.

EXIT STATUS
  0 when nothing is under way, 1 if that was not so within the time.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := nodesPath + "/" + url.PathEscape(args[0])
			var out cluster.Node
			if err := n.call(cmd.Context(), http.MethodPost, path+"/drain", nil, &out); err != nil {
				return err
			}
			begun, told := time.Now(), int64(-1)
			for {
				if slices.Contains([]string{cluster.Drained, cluster.Down}, out.State) {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", out.Name, out.State)
					return err
				}
				if out.Busy != told {
					told = out.Busy
					fmt.Fprintf(cmd.ErrOrStderr(), "%s has %d connections\n", out.Name, told)
				}
				if time.Since(begun) > within {
					return fmt.Errorf("%s still has %d connections after %s; it stays ordered to drain", out.Name, out.Busy, within)
				}
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-time.After(500 * time.Millisecond):
				}
				if err := n.call(cmd.Context(), http.MethodGet, path, nil, &out); err != nil {
					return err
				}
			}
		},
	}
	c.Flags().DurationVar(&within, "timeout", 5*time.Minute, "how long to wait")
	return c
}

func nodeForgetCommand(n *console) *cobra.Command {
	return &cobra.Command{
		Use:   "forget NODE",
		Short: "Remove a node that is down from the list",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return n.call(cmd.Context(), http.MethodDelete, nodesPath+"/"+url.PathEscape(args[0]), nil, nil)
		},
	}
}
