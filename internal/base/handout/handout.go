// Package handout is what a node hands to the clients of its machine: the three files of its
// data directory that are not encrypted. credentials is an AWS shared credentials file with
// root's access key; endpoints.json has the URLs of the listeners; ca.pem is the certificate
// of the authority that the listeners' own are of.
package handout

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Endpoints are the URLs of a node.
type Endpoints struct {
	Proxy     string `json:"proxy"`
	ProxyTLS  string `json:"proxy_tls"`
	KongAdmin string `json:"kong_admin"`
	AWS       string `json:"aws"`
	SQL       string `json:"sql"`
	Console   string `json:"console"`
	Status    string `json:"status"`
}

// Key is root's access key, with the region for clients that name none.
type Key struct{ ID, Secret, Region string }

const (
	credentialsFile = "credentials"
	endpointsFile   = "endpoints.json"
	authorityFile   = "ca.pem"
)

// Write makes the files in dir by way of write, which replaces a file in one step and lets
// nobody but its owner read it.
func Write(dir string, e Endpoints, k Key, ca []byte, write func(path string, data []byte) error) error {
	credentials := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\nregion = %s\n", k.ID, k.Secret, k.Region)
	if err := write(filepath.Join(dir, credentialsFile), []byte(credentials)); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, authorityFile), ca); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, endpointsFile), append(raw, '\n'))
}

// Roots are the authorities that listeners of a data directory's node are known by: its own,
// and the machine's.
func Roots(dir string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without any
	}
	ca, err := os.ReadFile(filepath.Join(dir, authorityFile))
	if err != nil {
		return nil, fmt.Errorf("the node's authority cannot be read: %w", err)
	}
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", authorityFile)
	}
	return pool, nil
}

// Read reads the files of a data directory.
func Read(dir string) (e Endpoints, k Key, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, endpointsFile))
	if err != nil {
		return e, k, fmt.Errorf("%s is not the data directory of a node that was started: %w", dir, err)
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, k, fmt.Errorf("%s: %w", endpointsFile, err)
	}
	if raw, err = os.ReadFile(filepath.Join(dir, credentialsFile)); err != nil {
		return e, k, fmt.Errorf("the credentials cannot be read: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch name {
		case "aws_access_key_id":
			k.ID = value
		case "aws_secret_access_key":
			k.Secret = value
		case "region":
			k.Region = value
		}
	}
	return e, k, nil
}
