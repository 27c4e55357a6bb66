package node

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/audit"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxAdminBody bounds the body of a signed request to the Kong Admin API.
const maxAdminBody = 10 << 20

// OperatorService is the service that requests to the console's port are signed for.
const OperatorService = "cluster"

// adminIdentity tells who sends a request to an API of operators: by the signature of an
// access key for a service, or by the key and its secret as HTTP Basic.
type adminIdentity struct {
	service     string
	credentials credentials
	signatures  *awswire.Signatures
}

var clearText = &fault.Reason{Kind: fault.Unauthenticated, Name: "PlainTextCredentials"}

// fromHere reports whether a request comes from this machine.
func fromHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && Loopback(host)
}

var wrongKey = &fault.Reason{Kind: fault.Unauthenticated, Name: "InvalidCredentials"}

func (a adminIdentity) identify(r *http.Request) (caller.Identity, error) {
	key, secret, basic := r.BasicAuth()
	if !basic {
		return a.signatures.Verify(r, a.service, maxAdminBody)
	}
	if r.TLS == nil && !fromHere(r) {
		return caller.Identity{}, clearText.New("Basic credentials are not taken over plain HTTP from another machine: use HTTPS (tls: true), or sign the request with AWS4-HMAC-SHA256")
	}
	c, err := a.credentials.Lookup(r.Context(), key)
	switch kind := fault.KindOf(err); {
	case err != nil && kind != fault.NotFound && kind != fault.Unauthenticated:
		return caller.Identity{}, err
	case err != nil || c.SessionToken != "" || subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) != 1:
		return caller.Identity{}, wrongKey.New("the access key or its secret is wrong")
	}
	return c.Identity, nil
}

// changes writes what the gateway's callers change into the audit.
type changes struct {
	to  *audit.Log
	log *slog.Logger
}

func (c changes) record(ctx context.Context, made []gateway.Change) {
	id, _ := caller.From(ctx)
	request := caller.RequestOf(ctx)
	who := id.ARN
	if who == "" {
		who = id.UserName
	}
	entries := make([]audit.Entry, len(made))
	for i, change := range made {
		e := audit.Entry{Request: request.ID, Who: who, From: request.SourceIP, Entity: change.Collection, Key: change.ID,
			Operation: "update", Before: c.encode(change.Before), After: c.encode(change.After)}
		switch {
		case change.Before == nil:
			e.Operation = "create"
		case change.After == nil:
			e.Operation = "delete"
		}
		entries[i] = e
	}
	if err := c.to.Append(entries...); err != nil {
		c.log.Error("writing to the audit", "changes", len(entries), "err", err)
	}
}

func (c changes) encode(r schema.Record) json.RawMessage {
	if r == nil {
		return nil
	}
	raw, err := json.Marshal(r)
	if err != nil {
		c.log.Error("encoding an entry of the audit", "err", err)
	}
	return raw
}
