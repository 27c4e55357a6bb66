package plat

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
)

// Call sends a request to the node's console port as root, with a body of JSON if in is not
// nil, and decodes the answer into out if that is not nil.
func (n *Node) Call(method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, n.Endpoints.Console+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	awswire.Signer{AccessKeyID: n.Root.ID, Secret: n.Root.Secret, Region: Region, Service: "cluster"}.Sign(req, body, time.Now())
	client, err := n.consoleClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.500s", method, path, resp.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// consoleClient trusts the platform's authority, which the status port gives to everybody.
func (n *Node) consoleClient() (*http.Client, error) {
	transport := new(http.Transport)
	if strings.HasPrefix(n.Endpoints.Console, "https:") {
		code, ca := n.Status("/ca.pem")
		roots := x509.NewCertPool()
		if code != http.StatusOK || !roots.AppendCertsFromPEM([]byte(ca)) {
			return nil, fmt.Errorf("GET /ca.pem: %d: %.200s", code, ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Timeout: patience, Transport: transport}, nil
}
