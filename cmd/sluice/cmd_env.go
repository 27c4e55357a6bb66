package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/node"
)

func envCommand() *cobra.Command {
	data := node.Defaults().Data
	c := &cobra.Command{
		Use:   "env",
		Short: "Print shell exports for the clients of a node",
		Long: `Print shell exports for the clients of a node, from its data directory:

  eval "$(sluice env --data DIR)"
  aws sts get-caller-identity; psql -c 'select 1'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, k, err := readHandouts(data)
			if err != nil {
				return err
			}
			sql, err := url.Parse(e.SQL)
			if err != nil {
				return err
			}
			for _, pair := range [][2]string{
				{"AWS_ACCESS_KEY_ID", k.id}, {"AWS_SECRET_ACCESS_KEY", k.secret}, {"AWS_DEFAULT_REGION", k.region}, {"AWS_ENDPOINT_URL", e.AWS},
				{"PGHOST", sql.Hostname()}, {"PGPORT", sql.Port()}, {"PGDATABASE", strings.TrimPrefix(sql.Path, "/")}, {"PGUSER", k.id}, {"PGPASSWORD", k.secret},
				{"SLUICE_PROXY", e.Proxy}, {"SLUICE_KONG_ADMIN", e.KongAdmin}, {"SLUICE_STATUS", e.Status},
			} {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "export %s='%s'\n", pair[0], pair[1]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", data, "data directory of the node")
	return c
}

// accessKey is the key of a credentials file.
type accessKey struct{ id, secret, region string }

// readHandouts reads what a node wrote for the clients of its machine.
func readHandouts(data string) (e node.Endpoints, k accessKey, err error) {
	raw, err := os.ReadFile(filepath.Join(data, "endpoints.json"))
	if err != nil {
		return e, k, fmt.Errorf("%s is not the data directory of a node that was started: %w", data, err)
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, k, fmt.Errorf("endpoints.json: %w", err)
	}
	if raw, err = os.ReadFile(filepath.Join(data, "credentials")); err != nil {
		return e, k, fmt.Errorf("the credentials cannot be read: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch key {
		case "aws_access_key_id":
			k.id = value
		case "aws_secret_access_key":
			k.secret = value
		case "region":
			k.region = value
		}
	}
	return e, k, nil
}
