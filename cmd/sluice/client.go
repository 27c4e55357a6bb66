package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/node"
)

// console is a client of a node's console port, with the key of the node's data directory.
type console struct {
	data string
	url  string
}

// consoleWithin bounds a call.
const consoleWithin = 30 * time.Second

// flags adds how the node is found.
func (c *console) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&c.data, "data", node.Defaults().Data, "data directory of a node, which holds its address and a key")
	cmd.PersistentFlags().StringVar(&c.url, "url", "", "URL of another node's console port, such as http://10.0.0.2:10090")
}

// maxConsoleAnswer bounds what a node may answer.
const maxConsoleAnswer = 64 << 20

// call sends a request, with a body of JSON unless that is nil, and decodes the answer into out,
// if it is not nil.
func (c *console) call(ctx context.Context, method, path string, body []byte, out any) error {
	raw, err := c.fetch(ctx, method, path, "application/json", body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// fetch sends a request and returns the body of an answer that says success.
func (c *console) fetch(ctx context.Context, method, path, media string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, consoleWithin)
	defer cancel()
	if body == nil {
		media = ""
	}
	status, raw, err := c.send(ctx, method, path, media, body)
	if err != nil || status/100 == 2 {
		return raw, err
	}
	var e struct {
		Error struct{ Message string } `json:"error"`
	}
	if json.Unmarshal(raw, &e) != nil || e.Error.Message == "" {
		return nil, fmt.Errorf("the node answered %d", status)
	}
	return nil, errors.New(e.Error.Message)
}

// send sends a request, with a body of a media type, and returns what comes back.
func (c *console) send(ctx context.Context, method, path, media string, body []byte) (int, []byte, error) {
	e, k, err := handout.Read(c.data)
	if err != nil {
		return 0, nil, err
	}
	at := c.url
	if at == "" {
		at = e.Console
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(at, "/")+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if req.URL.Scheme == "https" || node.Loopback(req.URL.Hostname()) {
		req.SetBasicAuth(k.ID, k.Secret)
	} else { // the secret does not travel in clear
		awswire.Signer{AccessKeyID: k.ID, Secret: k.Secret, Region: k.Region, Service: node.OperatorService}.Sign(req, body, time.Now())
	}
	client, err := clientOf(c.data, req.URL.Scheme)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, unreachable(at, c.data, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxConsoleAnswer+1))
	if err == nil && len(raw) > maxConsoleAnswer {
		err = errors.New("the node's answer is too long")
	}
	return resp.StatusCode, raw, err
}

// unreachable says that a node does not answer, and what to do about it.
func unreachable(at, data string, err error) error {
	var system syscall.Errno
	if errors.As(err, &system) && (system == syscall.ECONNREFUSED || system == syscall.ECONNRESET) {
		return fmt.Errorf("the node at %s does not answer (%w): start it with sluice serve --data %s, or name another with --url", at, system, data)
	}
	return fmt.Errorf("the node at %s does not answer: %w", at, errors.Unwrap(err))
}

// clientOf is a client for a node whose listeners' certificates are of the authority that a data
// directory tells of, or of one that the machine trusts.
func clientOf(data, scheme string) (*http.Client, error) {
	if scheme != "https" {
		return http.DefaultClient, nil
	}
	roots, err := handout.Roots(data)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}, nil
}

// printJSON writes v as people read it.
func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table writes rows under a header, padded with spaces.
func table(w io.Writer, header []string, rows [][]string) error {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b bytes.Buffer
	for _, row := range append([][]string{header}, rows...) {
		if row == nil {
			continue
		}
		for i, cell := range row {
			if i == len(row)-1 {
				b.WriteString(cell)
				break
			}
			fmt.Fprintf(&b, "%-*s  ", widths[i], cell)
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

// exit is an error that says how the program ends; it was told of already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exitCode is how the program ends after an error.
func exitCode(err error) int {
	if e, ok := errors.AsType[exit](err); ok {
		return int(e)
	}
	if bad, ok := errors.AsType[*node.InvalidFile](err); ok {
		for _, line := range bad.Lines {
			fmt.Fprintln(os.Stderr, line)
		}
		fmt.Fprintf(os.Stderr, "sluice: %s is refused; nothing was changed\n", bad.Name)
		return 1
	}
	fmt.Fprintln(os.Stderr, "sluice:", oneLine(err))
	return 1
}
