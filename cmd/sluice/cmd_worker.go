package main

import (
	"os"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/node"
	"sluice.dev/sluice/internal/service/warehouse/worker"
)

// workerCommand is how a node starts its SQL workers. It is of no use to people.
func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: node.WorkerCommand, Hidden: true, DisableFlagParsing: true,
		Run: func(*cobra.Command, []string) { os.Exit(worker.Main()) },
	}
}
