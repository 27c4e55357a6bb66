package discover

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Kubernetes finds nodes by the labels of their pods.
type Kubernetes struct {
	// API is the URL of the API server, such as https://10.96.0.1:443.
	API string
	// Account is the directory with the service account's token and ca.crt. They are read
	// anew for each question, as both change.
	Account string
	// Namespace and Labels, a label selector, choose the pods.
	Namespace, Labels string
	// Port is the nodes' cluster port.
	Port int
	Log  *slog.Logger
}

// Bounds of the API server's answers.
const (
	askAgain  = 5 * time.Second
	askWithin = 10 * time.Second
	maxPods   = 16 << 20
)

// APIFromEnvironment is the URL of the API server as a pod is told of it.
func APIFromEnvironment(getenv func(string) string) (string, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return "", errors.New("discover: this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	}
	return "https://" + net.JoinHostPort(host, port), nil
}

// Run asks for the pods again and again. An API server that does not answer is logged, once
// for each way of failing, and asked again.
func (k Kubernetes) Run(ctx context.Context, found func(addresses ...string)) error {
	last := ""
	for {
		addresses, err := k.pods(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last = ""
			found(addresses...)
		case err.Error() != last:
			last = err.Error()
			k.Log.Error("cannot ask Kubernetes for the cluster's pods", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askAgain):
		}
	}
}

// podList is what is read of the API's answer.
type podList struct {
	Items []struct {
		Metadata struct {
			Deleted *time.Time `json:"deletionTimestamp"`
		} `json:"metadata"`
		Status struct {
			Phase string `json:"phase"`
			PodIP string `json:"podIP"`
		} `json:"status"`
	} `json:"items"`
}

// pods asks for the addresses of pods that run, ready or not: a node becomes ready after it
// has joined.
func (k Kubernetes) pods(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	token, err := os.ReadFile(filepath.Join(k.Account, "token"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(k.Account, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("discover: %s holds no certificate", filepath.Join(k.Account, "ca.crt"))
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	u := strings.TrimSuffix(k.API, "/") + "/api/v1/namespaces/" + url.PathEscape(k.Namespace) + "/pods?labelSelector=" + url.QueryEscape(k.Labels)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPods+1))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var status struct{ Message string }
		_ = json.Unmarshal(body, &status) // the status says enough where it is no JSON
		return nil, fmt.Errorf("discover: the API server answered %s %s", resp.Status, status.Message)
	}
	if len(body) > maxPods {
		return nil, errors.New("discover: the API server's answer is too long")
	}
	var list podList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("discover: the API server's answer cannot be read: %w", err)
	}
	var out []string
	for _, pod := range list.Items {
		if pod.Status.PodIP != "" && pod.Status.Phase == "Running" && pod.Metadata.Deleted == nil {
			out = append(out, net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(k.Port)))
		}
	}
	return out, nil
}
