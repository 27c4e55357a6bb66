// Sluice is a data platform you own, in one program: events and requests come in through an
// API gateway, are kept in streams and objects under your own keys, and come out as SQL.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	c := root()
	if filepath.Base(os.Args[0]) == "maprcli" { // a link to this program
		c.SetArgs(append([]string{"maprcli"}, os.Args[1:]...))
	}
	if err := c.ExecuteContext(ctx); err != nil {
		os.Exit(exitCode(err)) //nolint:gocritic // nothing is left to stop
	}
}

// oneLine folds what libraries spread over several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func root() *cobra.Command {
	c := &cobra.Command{Use: "sluice", Short: "A data platform you own, in one program", SilenceUsage: true, SilenceErrors: true}
	c.CompletionOptions.HiddenDefaultCmd = true
	c.AddCommand(serveCommand(), demoCommand(), envCommand(), configCommand(), gateCommand(), exportCommand(), importCommand(), nodeCommand(), clusterCommand(),
		maprcliCommand(), workerCommand(), agentCommand(), edgeCommand())
	return c
}
