// Sluice is a data platform you own, in one program: events and requests come in through an
// API gateway, are kept in streams and objects under your own keys, and come out as SQL.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sluice:", oneLine(err))
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

// oneLine folds what libraries spread over several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func root() *cobra.Command {
	c := &cobra.Command{Use: "sluice", Short: "A data platform you own, in one program", SilenceUsage: true, SilenceErrors: true}
	c.CompletionOptions.HiddenDefaultCmd = true
	c.AddCommand(serveCommand(), demoCommand(), envCommand(), configCommand(), gateCommand(), importCommand(), workerCommand())
	return c
}
