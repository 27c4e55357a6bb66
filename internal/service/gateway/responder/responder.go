package responder

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	maxAnswer = 64 << 10
	maxSkew   = 5 * time.Minute
)

// Errors of Ask about what a responder said.
var (
	ErrRevoked = errors.New("the certificate is revoked")
	errUnknown = errors.New("the responder does not know the certificate")
)

// Answer is a responder's answer about a certificate that is good.
type Answer struct {
	Raw []byte // in DER
	// From and Until are when the answer counts; a zero Until is not told.
	From, Until time.Time
}

// Ask asks the responder at a URL about a certificate. The error is ErrRevoked where it is
// revoked, and any other where that cannot be found out.
func Ask(ctx context.Context, client *http.Client, where string, c, issuer *x509.Certificate, now time.Time) (Answer, error) {
	ask, err := ocsp.CreateRequest(c, issuer, nil)
	if err != nil {
		return Answer{}, err
	}
	raw, err := Fetch(ctx, client, http.MethodPost, where, ask, maxAnswer)
	if err != nil {
		return Answer{}, err
	}
	resp, err := ocsp.ParseResponseForCert(raw, c, issuer)
	if err != nil {
		return Answer{}, err
	}
	switch by := resp.Certificate; {
	case resp.ThisUpdate.After(now.Add(maxSkew)):
		return Answer{}, errors.New("the answer is of the future")
	case !resp.NextUpdate.IsZero() && resp.NextUpdate.Before(now.Add(-maxSkew)):
		return Answer{}, errors.New("the answer is out of date")
	case by != nil && !by.Equal(issuer) && (!slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) ||
		now.Before(by.NotBefore) || now.After(by.NotAfter)):
		// Otherwise every certificate could vouch for itself.
		return Answer{}, errors.New("the answer is signed by a certificate that is not one of a responder")
	case resp.Status == ocsp.Revoked:
		return Answer{}, ErrRevoked
	case resp.Status != ocsp.Good:
		return Answer{}, errUnknown
	}
	return Answer{raw, resp.ThisUpdate, resp.NextUpdate}, nil
}

// Fetch asks an HTTP server that a certificate names, for at most limit bytes.
func Fetch(ctx context.Context, client *http.Client, method, where string, body []byte, limit int64) ([]byte, error) {
	if !strings.HasPrefix(where, "http://") && !strings.HasPrefix(where, "https://") {
		return nil, errors.New("only HTTP is spoken")
	}
	req, err := http.NewRequestWithContext(ctx, method, where, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/ocsp-request")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = errors.New("the answer is too long")
	}
	return raw, err
}
