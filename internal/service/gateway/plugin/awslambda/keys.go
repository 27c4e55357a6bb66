package awslambda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"sluice.dev/sluice/internal/service/gateway/plugin/awssign"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// keys are the credentials calls are signed with: those configured, or those of a role.
type keys struct {
	own      aws.Credentials
	role     string
	session  string
	endpoint string
	in       *instance

	// turn is held by who asks STS; others wait for it.
	turn    chan struct{}
	mu      sync.Mutex
	assumed aws.Credentials
}

// early is how long before their end credentials are renewed.
const early = time.Minute

func newKeys(c schema.Record, region string, in *instance) *keys {
	k := &keys{in: in, role: fields.String(c, "aws_assume_role_arn"), session: fields.String(c, "aws_role_session_name"),
		endpoint: fields.String(c, "aws_sts_endpoint_url"), turn: make(chan struct{}, 1),
		own: awssign.Key(fields.String(c, "aws_key"), fields.String(c, "aws_secret"))}
	if k.endpoint == "" {
		k.endpoint = "https://sts." + region + ".amazonaws.com"
	}
	return k
}

func (k *keys) get(ctx context.Context) (aws.Credentials, error) {
	switch {
	case k.own.AccessKeyID == "":
		return aws.Credentials{}, errors.New("there are no credentials: neither aws_key nor AWS_ACCESS_KEY_ID is set")
	case k.role == "":
		return k.own, nil
	}
	if c, ok := k.current(); ok {
		return c, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	if c, ok := k.current(); ok { // another has asked meanwhile
		return c, nil
	}
	c, err := k.assume(ctx)
	if err != nil {
		return c, fmt.Errorf("the role was not assumed: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.assumed = c
	return c, nil
}

func (k *keys) current() (aws.Credentials, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.assumed, k.in.clock.Now().Add(early).Before(k.assumed.Expires)
}

// assume calls AssumeRole of STS.
func (k *keys) assume(ctx context.Context) (aws.Credentials, error) {
	query := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {k.role}, "RoleSessionName": {k.session}}
	r, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(k.endpoint, "/")+"/?"+query.Encode(), nil)
	if err != nil {
		return aws.Credentials{}, errors.New("the endpoint's URL cannot be parsed")
	}
	r.Header.Set("Accept", "application/json") // else it is XML
	a, err := k.in.signed(ctx, r, nil, k.own, "sts")
	if err != nil {
		return aws.Credentials{}, err
	}
	if a.Status != 200 {
		return aws.Credentials{}, fmt.Errorf("STS answered with status %d", a.Status)
	}
	var out struct {
		AssumeRoleResponse struct {
			AssumeRoleResult struct {
				Credentials struct {
					AccessKeyID     string  `json:"AccessKeyId"`
					SecretAccessKey string  `json:"SecretAccessKey"`
					SessionToken    string  `json:"SessionToken"`
					Expiration      float64 `json:"Expiration"` // seconds since 1970
				}
			}
		}
	}
	c := &out.AssumeRoleResponse.AssumeRoleResult.Credentials
	if json.Unmarshal(a.Body, &out) != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return aws.Credentials{}, errors.New("STS answered with something else than credentials")
	}
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		Expires: time.Unix(int64(c.Expiration), 0)}, nil
}
