package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/service/edge"
)

// edgeAPI is where a node serves Edge Flow Manager's API, by its console.
type edgeAPI struct {
	console
	path string
}

func (a *edgeAPI) flags(cmd *cobra.Command, class *string) {
	a.console.flags(cmd)
	cmd.Flags().StringVar(&a.path, "context-path", "/efm", "the node's console.context_path")
	cmd.Flags().StringVar(class, "class", "", "agent class")
	_ = cmd.MarkFlagRequired("class")
}

func (a *edgeAPI) at(format string, args ...any) string {
	return strings.TrimSuffix(a.path, "/") + "/api" + fmt.Sprintf(format, args...)
}

func edgeExportCommand() *cobra.Command {
	a := new(edgeAPI)
	var class, format, version string
	c := &cobra.Command{
		Use:   "export --class CLASS",
		Short: "Print a class's flow, without its secrets, as a file for git",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"format": {format}}
			if version != "" {
				query.Set("version", version)
			}
			text, err := a.fetch(cmd.Context(), http.MethodGet, a.at("/designer/%s/flows/export?%s", url.PathEscape(class), query.Encode()), "", nil)
			if err == nil {
				_, err = cmd.OutOrStdout().Write(text)
			}
			return err
		},
	}
	a.flags(c, &class)
	c.Flags().StringVar(&format, "format", "json", "json, nifi for NiFi's JSON, or yaml for MiNiFi's")
	c.Flags().StringVar(&version, "version", "", "number or id of a version (default: what is edited)")
	return c
}

func edgePublishCommand() *cobra.Command {
	a := new(edgeAPI)
	var class, comments string
	var waves []string
	var plan edge.Plan
	c := &cobra.Command{
		Use:   "publish --class CLASS [FILE]",
		Short: "Bring a flow to the agents of a class, and follow how far they are",
		Long: `Bring a flow to the agents of a class, and follow how far they are. FILE is a flow in the
platform's JSON, in NiFi's, or in MiNiFi's YAML, "-" for standard input, and becomes what is
edited; without it what is edited is published. An interrupt ends the following alone: the
rollout goes on.

EXIT STATUS
  0 if the agents run the flow, 1 if it could not be published or was rolled back.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, w := range waves {
				wave, err := parseWave(w)
				if err != nil {
					return fmt.Errorf("--wave: %w", err)
				}
				plan.Waves = append(plan.Waves, wave)
			}
			if len(args) == 1 {
				if err := a.load(cmd, class, args[0]); err != nil {
					return err
				}
			}
			var flows []struct{ ID string }
			if err := a.call(cmd.Context(), http.MethodGet, a.at("/designer/flows?agentClass=%s", url.QueryEscape(class)), nil, &flows); err != nil {
				return err
			}
			in, err := json.Marshal(map[string]any{"comments": comments, "plan": plan})
			if err != nil {
				return err
			}
			var out struct {
				Version edge.FlowVersion
				Rollout edge.Rollout
			}
			if err := a.call(cmd.Context(), http.MethodPost, a.at("/designer/flows/%s/publish", flows[0].ID), in, &out); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "version %d of the flow of %s, rollout %d\n", out.Version.Number, class, out.Rollout.Number)
			return a.follow(cmd.Context(), out.Rollout.Number, cmd.OutOrStdout())
		},
	}
	a.flags(c, &class)
	c.Flags().StringVar(&comments, "comments", "", "what is new")
	c.Flags().StringSliceVar(&waves, "wave", nil, "how many agents, 5 or 10%, get the flow before the rest; may be repeated")
	c.Flags().Float64Var(&plan.MaxFailed, "max-failed", 0, "percent of the agents that may fail before all get the version before again")
	c.Flags().DurationVar(&plan.Settle, "settle", 0, "how long a wave must have been well before the next")
	c.Flags().IntVar(&plan.Rate, "rate", 0, "agents a second within a wave; 0 for all at once")
	return c
}

// parseWave reads a number of agents, or a share of them.
func parseWave(text string) (edge.Wave, error) {
	if share, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(share, 64)
		return edge.Wave{Percent: p}, err
	}
	n, err := strconv.Atoi(text)
	return edge.Wave{Agents: n}, err
}

// load puts a file in the place of what is edited.
func (a *edgeAPI) load(cmd *cobra.Command, class, file string) error {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // read only
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxConsoleAnswer))
	if err != nil {
		return err
	}
	media := "application/yaml"
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		media = "application/json"
	}
	_, err = a.fetch(cmd.Context(), http.MethodPost, a.at("/designer/%s/flows/import", url.PathEscape(class)), media, text)
	return err
}

// followEvery is how often a rollout is looked at.
const followEvery = 500 * time.Millisecond

// follow tells of a rollout whenever it has changed, until it has ended.
func (a *edgeAPI) follow(ctx context.Context, number int64, out io.Writer) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for before := ""; ; {
		var st edge.RolloutStatus
		if err := a.call(ctx, http.MethodGet, a.at("/rollouts/%d", number), nil, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s, %d agents", st.State, st.Total)
		for _, state := range slices.Sorted(maps.Keys(st.States)) {
			line += fmt.Sprintf(", %d %s", st.States[state], state)
		}
		if line != before {
			fmt.Fprintln(out, line)
			before = line
		}
		switch st.State {
		case edge.Completed:
			return nil
		case edge.RolledBack:
			return errors.New(st.Message)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("rollout %d goes on: it is not followed any more", number)
		case <-tick.C:
		}
	}
}
