package standardwebhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxBody is the largest webhook that is looked at.
const maxBody = 8 << 20

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "standard-webhooks", Version: gateway.Version, Priority: 760, NoScopes: []string{"consumer"},
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "secret_v1", Kind: schema.String, Required: true, Referenceable: true, Encrypted: true, Description: "The webhook's secret."},
			{Name: "tolerance_second", Kind: schema.Integer, Required: true, Default: 300, Gt: schema.Ptr(-1.0),
				Description: "How many seconds old a webhook may be."},
		}},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			return &instance{[]byte(fields.String(c, "secret_v1")), fields.Seconds(c, "tolerance_second"), env.Clock}, nil
		},
	}
}

type instance struct {
	secret    []byte
	tolerance time.Duration
	clock     clock.Clock
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	h := &x.Request.Header
	id, stamp, signatures := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if id == "" || signatures == "" || err != nil || in.clock.Now().Sub(time.Unix(seconds, 0)) > in.tolerance {
		x.Fail(400, "Bad request")
		return
	}
	body, err := x.Body(maxBody)
	if err == gateway.ErrBodyTooLarge {
		x.Fail(413, gateway.TooLargeMessage)
		return
	}
	if err != nil || len(body) == 0 || !in.signed(id+"."+stamp+".", body, signatures) {
		x.Fail(400, "Bad request")
	}
}

// signed reports whether one of the signatures, which stand apart by spaces, is right.
func (in *instance) signed(head string, body []byte, signatures string) bool {
	mac := hmac.New(sha256.New, in.secret)
	mac.Write([]byte(head))
	mac.Write(body)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	ok := false
	for s := range strings.FieldsSeq(signatures) {
		ok = hmac.Equal([]byte(s), want) || ok
	}
	return ok
}
