package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func edgeTokenCommand() *cobra.Command {
	a := new(edgeAPI)
	var class, agent string
	var life time.Duration
	c := &cobra.Command{
		Use:   "token --class CLASS",
		Short: "Print the command that enrolls an agent of a class",
		Long: `Print the command that enrolls an agent of a class. It holds a token, which is good once and
for a while, and the fingerprint of the certificate that the agent knows the node by. The
node's console must be served by TLS (console.tls), as the agent gets a certificate.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := json.Marshal(map[string]any{"agentClass": class, "agentId": agent, "expiresIn": int64(life / time.Second)})
			if err != nil {
				return err
			}
			var out struct{ Command string }
			if err := a.call(cmd.Context(), http.MethodPost, a.at("/agent-deployer/generateCommand"), body, &out); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out.Command)
			return err
		},
	}
	a.flags(c, &class)
	c.Flags().StringVar(&agent, "id", "", "the agent's id (default: a new one)")
	c.Flags().DurationVar(&life, "expires", time.Hour, "how long the token is good")
	return c
}
