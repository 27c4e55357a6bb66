package awssign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Region returns the configured region, or where that is empty the environment's; "" where
// there is neither.
func Region(configured string) string {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if configured == "" {
			configured = os.Getenv(name)
		}
	}
	return configured
}

// Key returns the configured key, or where its id is empty the environment's, which may be
// empty too.
func Key(id, secret string) aws.Credentials {
	if id != "" {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}
	}
	return aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken: os.Getenv("AWS_SESSION_TOKEN")}
}

// Scope is what a signature is good for besides its day.
type Scope struct{ Service, Region string }

// Sign signs a request that has the body.
func Sign(ctx context.Context, r *http.Request, body []byte, key aws.Credentials, s Scope, at time.Time) error {
	sum := sha256.Sum256(body)
	return v4.NewSigner().SignHTTP(ctx, key, r, hex.EncodeToString(sum[:]), s.Service, s.Region, at)
}
