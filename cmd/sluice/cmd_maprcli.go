package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/api/mapr"
	"sluice.dev/sluice/internal/node"
)

// maprDataVariable names the data directory for maprcli, whose own flags leave no room for it.
const maprDataVariable = "SLUICE_DATA"

func maprcliCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "maprcli COMMAND [SUBCOMMAND…] [-FLAG VALUE…]",
		Short: "Answer maprcli's commands: node list, service list",
		Long: `Answer maprcli's commands, with its flags and its output: "maprcli node list -columns
hostname,ip", "maprcli service list -json". A link to this program called maprcli does the same.

The node is found by its data directory, SLUICE_DATA, and its URL is taken from there or from
-url; flags that every command has are -json, -long, -noheader, -columns, -start and -limit.

EXIT STATUS
  0, or the code of the error that is printed.`,
		DisableFlagParsing: true,
		RunE:               func(cmd *cobra.Command, args []string) error { return maprcli(cmd, args) },
	}
}

// switches are flags without a value.
var maprSwitches = []string{"json", "long", "noheader"}

func maprcli(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		return cmd.Help()
	}
	command, flags, err := maprFlags(args)
	if err != nil {
		fmt.Fprintf(cmd.OutOrStdout(), "ERROR (22) -  %s: %s\n", command, err)
		return exit(22)
	}
	n := &console{data: os.Getenv(maprDataVariable), url: flags.Get("url")}
	if n.data == "" {
		n.data = node.Defaults().Data
	}
	asJSON, long, bare := flags.Has("json"), flags.Has("long"), flags.Has("noheader")
	for _, own := range append(maprSwitches, "url") {
		flags.Del(own)
	}
	_, raw, err := n.send(cmd.Context(), http.MethodGet, "/rest/"+strings.ReplaceAll(command, " ", "/")+"?"+flags.Encode(), "", nil)
	if err != nil {
		return err
	}
	var a mapr.Answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return errors.New("the node's answer cannot be read")
	}
	if asJSON {
		if err := printJSON(cmd, a); err != nil {
			return err
		}
	}
	if a.Status != "OK" {
		code := 1
		for _, e := range a.Errors {
			code = e.ID
			if !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "ERROR (%d) -  %s\n", e.ID, e.Desc)
			}
		}
		return exit(code)
	}
	if asJSON {
		return nil
	}
	columns, err := mapr.Chosen(command, flags.Get("columns"))
	if err != nil {
		return err
	}
	return maprTable(cmd, a, columns, long || flags.Get("output") != "terse", bare)
}

// maprFlags takes a command line apart: words, then flags with one dash.
func maprFlags(args []string) (command string, flags url.Values, err error) {
	flags = url.Values{}
	var words []string
	for i := 0; i < len(args); i++ {
		name, dash := strings.CutPrefix(args[i], "-")
		if !dash {
			if len(flags) > 0 {
				return strings.Join(words, " "), flags, fmt.Errorf("%q follows no flag", args[i])
			}
			words = append(words, args[i])
			continue
		}
		name = strings.TrimPrefix(name, "-")
		command = strings.Join(words, " ")
		switch {
		case name == "":
			return command, flags, errors.New("a flag has no name")
		case flags.Has(name):
			return command, flags, fmt.Errorf("-%s is given twice", name)
		case slices.Contains(maprSwitches, name):
			flags.Set(name, "true")
		case i+1 == len(args):
			return command, flags, fmt.Errorf("-%s needs a value", name)
		default:
			i++
			flags.Set(name, args[i])
		}
	}
	return strings.Join(words, " "), flags, nil
}

func maprTable(cmd *cobra.Command, a mapr.Answer, columns []mapr.Column, long, bare bool) error {
	var header []string
	for _, c := range columns {
		switch {
		case long && c.Header != "":
			header = append(header, c.Header)
		case long:
			header = append(header, c.Name)
		default:
			header = append(header, c.Short)
		}
	}
	var rows [][]string
	for _, r := range a.Data {
		var row []string
		for _, c := range columns {
			row = append(row, fmt.Sprint(r[c.Name]))
		}
		rows = append(rows, row)
	}
	if bare {
		if len(rows) == 0 {
			return nil
		}
		header, rows = rows[0], rows[1:]
	}
	return table(cmd.OutOrStdout(), header, rows)
}
