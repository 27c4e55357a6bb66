// Sluice is a data platform you own, in one program: events and requests come in through an
// API gateway, are kept in streams and objects under your own keys, and come out as SQL.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/node"
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

// goNumber is what package strconv says of a number that it cannot read.
var goNumber = regexp.MustCompile(`strconv\.\w+: parsing "[^"]*": (invalid syntax|value out of range)`)

// flagError words what is wrong with a flag without the words of Go's packages.
func flagError(cmd *cobra.Command, err error) error {
	text := goNumber.ReplaceAllStringFunc(err.Error(), func(s string) string {
		if strings.HasSuffix(s, "range") {
			return "the number is too large"
		}
		return map[bool]string{true: "neither true nor false", false: "not a number"}[strings.Contains(s, "ParseBool")]
	})
	text = strings.ReplaceAll(text, "time: ", "")
	return fmt.Errorf("%s (see %s --help)", text, cmd.CommandPath())
}

// oneLine folds what libraries spread over several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func root() *cobra.Command {
	c := &cobra.Command{Use: "sluice", Short: "A data platform you own, in one program", SilenceUsage: true, SilenceErrors: true, Version: node.Version()}
	c.SetFlagErrorFunc(flagError)
	c.CompletionOptions.HiddenDefaultCmd = true
	c.AddCommand(serveCommand(), demoCommand(), envCommand(), configCommand(), gateCommand(), exportCommand(), importCommand(), nodeCommand(), clusterCommand(),
		maprcliCommand(), workerCommand(), agentCommand(), edgeCommand(), versionCommand())
	return c
}
