package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/node"
)

func configCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "List the keys of the configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.Reference(cmd.OutOrStdout(), node.Defaults())
		},
	}
}
