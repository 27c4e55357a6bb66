package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/node"
)

// endpointVariables are exported for scripts. A node that is started in the same shell must
// not take them for keys of its configuration.
var endpointVariables = []string{"SLUICE_PROXY", "SLUICE_KONG_ADMIN", "SLUICE_STATUS", "SLUICE_CONSOLE"}

func envCommand() *cobra.Command {
	data := node.Defaults().Data
	c := &cobra.Command{
		Use:   "env",
		Short: "Print shell exports for the clients of a node",
		Long: `Print shell exports for the clients of a node, from its data directory:

  eval "$(sluice env --data DIR)"
  aws sts get-caller-identity; psql -c 'select 1'

It also defines a function aws, which gives the endpoint to versions of the AWS CLI that do
not read it from the environment. Scripts that run programs of their own do not see it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, k, err := handout.Read(data)
			if err != nil {
				return err
			}
			sql, err := url.Parse(e.SQL)
			if err != nil {
				return err
			}
			for _, pair := range [][2]string{
				{"AWS_ACCESS_KEY_ID", k.ID}, {"AWS_SECRET_ACCESS_KEY", k.Secret}, {"AWS_DEFAULT_REGION", k.Region}, {"AWS_ENDPOINT_URL", e.AWS},
				{"PGHOST", sql.Hostname()}, {"PGPORT", sql.Port()}, {"PGDATABASE", strings.TrimPrefix(sql.Path, "/")}, {"PGUSER", k.ID}, {"PGPASSWORD", k.Secret},
				{endpointVariables[0], e.Proxy}, {endpointVariables[1], e.KongAdmin}, {endpointVariables[2], e.Status}, {endpointVariables[3], e.Console},
			} {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "export %s='%s'\n", pair[0], pair[1]); err != nil {
					return err
				}
			}
			// An aws CLI before 2.13 or 1.29 does not read AWS_ENDPOINT_URL, and would take the node's key to AWS.
			_, err = fmt.Fprintln(cmd.OutOrStdout(), `aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }`)
			return err
		},
	}
	c.Flags().StringVar(&data, "data", data, "data directory of the node")
	return c
}
