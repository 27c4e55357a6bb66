package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/node"
	"sluice.dev/sluice/internal/service/gateway"
)

func gateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "gate",
		Short: "Check, import and export the gateway's configuration",
		Long: `Check, import and export the gateway's configuration in Kong's declarative format.

A node is found by its data directory, or by the URL of its Admin API. Where that asks for
credentials, they are taken from SLUICE_ADMIN_TOKEN.`,
	}
	c.AddCommand(gateCheckCommand(), gateImportCommand(), gateExportCommand())
	return c
}

func gateCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a declarative file; - is standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := open(cmd, args[0])
			if err != nil {
				return err
			}
			defer text.Close()
			n, err := node.Check(cmd.Context(), shown(args[0]), text)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is a valid configuration of %d records\n", args[0], n)
			return err
		},
	}
}

func gateImportCommand() *cobra.Command {
	var a admin
	var replace, dry bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Load a declarative file into a running node, all of it or nothing; - is standard input",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := open(cmd, args[0])
			if err != nil {
				return err
			}
			defer text.Close()
			body, err := io.ReadAll(text)
			if err != nil {
				return err
			}
			return a.load(cmd, shown(args[0]), body, replace, dry)
		},
	}
	a.flags(c)
	c.Flags().BoolVar(&replace, "replace", false, "remove what the file does not hold")
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, but say what would be")
	return c
}

func gateExportCommand() *cobra.Command {
	var a admin
	c := &cobra.Command{
		Use:   "export",
		Short: "Print a running node's gateway configuration as a declarative file",
		Long: `Print a running node's gateway configuration as a declarative file. It holds the keys and
secrets as they are stored: keep it as you keep them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := a.call(cmd.Context(), http.MethodGet, "/export", nil)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	a.flags(c)
	return c
}

func open(cmd *cobra.Command, path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	return os.Open(path)
}

// shown is the name of a file in messages.
func shown(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// tokenVariable holds the token of an Admin API.
const tokenVariable = "SLUICE_ADMIN_TOKEN"

// admin is the Admin API of a node, as the flags of a command name it.
type admin struct {
	data, url string
}

func (a *admin) flags(c *cobra.Command) {
	a.data = node.Defaults().Data
	c.Flags().StringVar(&a.data, "data", a.data, "data directory of the node")
	c.Flags().StringVar(&a.url, "admin-url", "", "URL of the node's Admin API, where its data directory is not at hand")
}

// load sends the declarative document of a name and prints what became of it.
func (a *admin) load(cmd *cobra.Command, name string, body []byte, replace, dry bool) error {
	args := url.Values{}
	if replace {
		args.Set("replace", "1")
	}
	if dry {
		args.Set("dry_run", "1")
	}
	out, err := a.call(cmd.Context(), http.MethodPost, "/import?"+args.Encode(), body)
	if refused, ok := errors.AsType[*refusal](err); ok {
		if told := node.ExplainProblems(name, body, refused.problems); told != nil {
			return told
		}
	}
	if err != nil {
		return err
	}
	var done struct{ Created, Updated, Deleted, Unchanged int }
	if err := json.Unmarshal(out, &done); err != nil {
		return fmt.Errorf("the node's answer cannot be read: %w", err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d created, %d updated, %d deleted, %d unchanged\n", done.Created, done.Updated, done.Deleted, done.Unchanged)
	return err
}

// call calls the Admin API and returns the body of an answer that says success.
func (a *admin) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	base, client := a.url, http.DefaultClient
	if base == "" {
		e, _, err := handout.Read(a.data)
		if err != nil {
			return nil, err
		}
		base = e.KongAdmin
		scheme, _, _ := strings.Cut(base, ":")
		if client, err = clientOf(a.data, scheme); err != nil {
			return nil, err
		}
	}
	out, err := adminCall(ctx, client, method, strings.TrimSuffix(base, "/")+path, body, os.Getenv(tokenVariable))
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return nil, unreachable(base, a.data, failed)
	}
	return out, err
}

// adminTimeout bounds one call; a large configuration takes seconds.
const adminTimeout = 5 * time.Minute

// refusal is an answer of the Admin API that says what is wrong.
type refusal struct {
	message  string
	problems []gateway.Problem // with a declarative document
}

func (r *refusal) Error() string { return r.message }

func adminCall(ctx context.Context, client *http.Client, method, url string, body []byte, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/yaml")
	}
	if token != "" {
		req.Header.Set("Kong-Admin-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		var said struct {
			Message  string
			Problems []gateway.Problem
		}
		if json.Unmarshal(out, &said) == nil && said.Message != "" {
			return nil, &refusal{said.Message, said.Problems}
		}
		return nil, fmt.Errorf("%s %s: %s", method, req.URL.Redacted(), resp.Status)
	}
	return out, nil
}
