package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/node"
)

// configVariable names the configuration file where no flag does.
const configVariable = "SLUICE_CONFIG"

func serveCommand() *cobra.Command {
	var file, data, host string
	var portBase int
	var accepted []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node. The first start makes the data directory with everything in it, among it
DIR/credentials (an AWS credentials file) and DIR/endpoints.json (the URLs).

A store that is missing, damaged or of another data directory stops the start, with its
file, what is lost and what to restore. --accept-data-loss=STORE (control, index, streams or
objects) goes on without what is lost of that one, once; what is in the way is kept beside
it, as DIR/STORE.lost-TIME.

The line "sluice is ready" on standard output says that the node takes requests. SIGTERM
drains it. Keys of the configuration are listed by "sluice config".

EXIT STATUS
  0 after SIGTERM or SIGINT, 1 if the node could not start or go on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			syscall.Umask(0o077) // libraries make files of ours too, and all of them are their owner's alone
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			flags := cmd.Flags()
			if flags.Changed("data") {
				cfg.Data = data
			}
			if flags.Changed("host") {
				cfg.Host = host
			}
			if flags.Changed("port-base") {
				if portBase == 0 {
					return config.Invalid.Field("port-base", "--port-base is 1 to 65526, not 0")
				}
				cfg.PortBase = portBase
			}
			cfg.AcceptDataLoss = accepted
			own := os.Getenv("GOGC") == ""
			if own {
				debug.SetGCPercent(collectMost)
			}
			return node.Run(cmd.Context(), cfg, os.Stderr, func(e handout.Endpoints) {
				fmt.Println("sluice is ready")
				if term.IsTerminal(int(os.Stdout.Fd())) {
					welcome(os.Stdout, cfg.Data, e)
				}
				if own {
					go collect(cmd.Context())
				}
			})
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file: YAML, a kong.conf, or an efm.properties")
	c.Flags().StringVar(&data, "data", "", "data directory (default \""+node.Defaults().Data+"\")")
	c.Flags().StringVar(&host, "host", "", "address to bind (default \""+node.Defaults().Host+"\")")
	c.Flags().StringSliceVar(&accepted, "accept-data-loss", nil, "start without what is lost of a `STORE`: "+strings.Join(node.Stores(), ", "))
	c.Flags().IntVar(&portBase, "port-base", 0, "count all ports from here")
	return c
}

// welcome says to a person at a terminal what is where, and what to try.
func welcome(w io.Writer, data string, e handout.Endpoints) {
	fmt.Fprintf(w, `
  gateway         %s and %s
  Kong Admin API  %s
  AWS APIs        %s
  SQL             %s
  console, agents %s
  status, metrics %s
  credentials     %s

Try, in another terminal:

  eval "$(%s env --data %s)"
  aws sts get-caller-identity
  psql -c 'select 1'
`, e.Proxy, e.ProxyTLS, e.KongAdmin, e.AWS, e.SQL, e.Console, e.Status, filepath.Join(data, "credentials"), os.Args[0], data)
}

// loadConfig reads the configuration: a file, which may be a kong.conf or an
// efm.properties, then KONG_* variables (those of EFM_* belong to its file), then our own.
func loadConfig(file string) (*node.Config, error) {
	if file == "" {
		file = os.Getenv(configVariable)
	}
	cfg := node.Defaults()
	ours := append([]string{configVariable, tokenVariable}, endpointVariables...)
	if strings.HasSuffix(file, ".properties") {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, config.Invalid.Wrap(err, "cannot read the configuration file %s", file)
		}
		keys, err := node.ParseProperties(file, raw)
		if err != nil {
			return nil, err
		}
		variables, ignored, err := node.FromEFM(keys, os.Environ())
		if err != nil {
			return nil, err
		}
		cfg.Ignored = ignored
		if err := config.Load(cfg, "", variables); err != nil {
			return nil, err
		}
		return cfg, config.Load(cfg, "", os.Environ(), ours...)
	}
	kong := node.KongVariables(os.Environ())
	if strings.HasSuffix(file, ".conf") {
		f, err := os.Open(file)
		if err != nil {
			return nil, config.Invalid.Wrap(err, "cannot read the configuration file %s", file)
		}
		defer f.Close()
		keys, err := node.ParseKongConf(file, f)
		if err != nil {
			return nil, err
		}
		maps.Copy(keys, kong)
		kong, file = keys, ""
	}
	if err := config.Load(cfg, file, nil); err != nil {
		return nil, err
	}
	variables, ignored, err := node.FromKong(kong, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	cfg.Ignored = ignored
	if err := config.Load(cfg, "", variables); err != nil {
		return nil, err
	}
	return cfg, config.Load(cfg, "", os.Environ(), ours...)
}
