package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/agent"
	"sluice.dev/sluice/internal/agent/enroll"
	"sluice.dev/sluice/internal/agent/state"
	"sluice.dev/sluice/internal/service/edge/flow"
)

func agentCommand() *cobra.Command {
	var cfg agent.Config
	var limit string
	c := &cobra.Command{
		Use:   "agent",
		Short: "Run an edge agent",
		Long: `Run an edge agent: it speaks MiNiFi C2 with a node and runs the flow of its class. What
waits for a destination is kept in DIR over restarts and while no node can be reached.

An agent is enrolled first ("sluice agent enroll"), and then needs --data alone; a node that
asks for no certificates takes one by --class and --url too. Several --url may be given: any
one serves. The line "sluice agent is ready" on standard output says that its flow runs.
SIGTERM drains it. Components and their properties are in docs/agent.md.

EXIT STATUS
  0 after SIGTERM or SIGINT, 1 if the agent could not start or go on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			syscall.Umask(0o077)
			n, err := flow.ParseSize(limit)
			if err != nil {
				return fmt.Errorf("--max-queue: %w", err)
			}
			cfg.MaxBytes = n
			return agent.Run(cmd.Context(), cfg, os.Stderr, func() { fmt.Println("sluice agent is ready") })
		},
	}
	c.Flags().StringArrayVar(&cfg.URLs, "url", nil, "the API of a node, https://node:10090/efm/api; may be repeated")
	c.Flags().StringVar(&cfg.Class, "class", "", "the agent's class")
	c.Flags().StringVar(&cfg.ID, "id", "", "the agent's id (default: minted by the node or at the first start)")
	c.Flags().DurationVar(&cfg.Heartbeat, "heartbeat", 5*time.Second, "time between two heartbeats")
	c.Flags().StringVar(&limit, "max-queue", "1 GB", "how much may wait on the disk before sources are held back")
	agentFlags(c, &cfg.Data, &cfg.Trust)
	c.AddCommand(enrollCommand(), agentManifestCommand())
	return c
}

// agentFlags are those of every command that has a data directory and speaks to nodes.
func agentFlags(c *cobra.Command, data *string, trust *enroll.Trust) {
	c.Flags().StringVar(data, "data", defaultAgentData(), "data directory")
	c.Flags().StringVar(&trust.CA, "ca", "", "file of the authority that a node is known by (default: the one it named, else the system's)")
	c.Flags().StringVar(&trust.Fingerprint, "ca-fingerprint", "", "SHA-256 of the node's certificate or of its authority's, in the place of --ca")
	c.MarkFlagsMutuallyExclusive("ca", "ca-fingerprint")
}

func defaultAgentData() string {
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".sluice-agent")
	}
	return ".sluice-agent"
}

func enrollCommand() *cobra.Command {
	var data, url, token string
	var trust enroll.Trust
	c := &cobra.Command{
		Use:   "enroll",
		Short: "Make this agent known to a node, by a token",
		Long: `Make this agent known to a node: a key is made, the node issues a certificate for it and
says what the agent's id and class are. The token is given by the node's operator and good
once; "-" reads it from standard input.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			syscall.Umask(0o077)
			if token == "-" {
				var b bytes.Buffer
				if _, err := b.ReadFrom(cmd.InOrStdin()); err != nil {
					return err
				}
				token = strings.TrimSpace(b.String())
			}
			dir, err := state.Open(data)
			if err != nil {
				return err
			}
			defer func() { _ = dir.Close() }()
			who, err := enroll.Enroll(cmd.Context(), url, token, trust, dir)
			if err != nil {
				return err
			}
			fmt.Printf("agent %s of class %s is enrolled\n", who.ID, who.Class)
			return nil
		},
	}
	c.Flags().StringVar(&url, "url", "", "the API of the node, https://node:10090/efm/api")
	c.Flags().StringVar(&token, "token", "", "the token, or - to read it")
	agentFlags(c, &data, &trust)
	_ = c.MarkFlagRequired("url")
	_ = c.MarkFlagRequired("token")
	return c
}

func agentManifestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "manifest",
		Short: "Print what the agent says it is made of",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m, err := agent.Manifest()
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if err := json.Indent(&out, m.Text, "", "  "); err != nil {
				return err
			}
			fmt.Println(out.String())
			return nil
		},
	}
}
