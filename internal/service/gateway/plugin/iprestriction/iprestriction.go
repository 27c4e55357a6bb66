package iprestriction

import (
	"net/netip"
	"slices"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// New returns the kind.
func New() gateway.Plugin {
	list := func(name, description string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, Description: description,
			Elements: &schema.Field{Kind: schema.String, Check: func(v any) string {
				if _, err := parse(v.(string)); err != nil {
					return "invalid ip or cidr range: '" + v.(string) + "'"
				}
				return ""
			}}}
	}
	return gateway.Plugin{
		Name: "ip-restriction", Version: gateway.Version, Priority: 990,
		Protocols: []string{"grpc", "grpcs", "http", "https", "tcp", "tls"},
		Config: &schema.Field{
			Fields: []*schema.Field{
				list("allow", "Addresses and ranges that may pass."),
				list("deny", "Addresses and ranges that may not pass."),
				{Name: "status", Kind: schema.Number, Description: "Status of the answer to who may not; 403."},
				{Name: "message", Kind: schema.String, Description: "What who may not is told."},
			},
			Checks: []schema.Check{{AtLeastOneOf: []string{"allow", "deny"}}},
		},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			in := &instance{status: 403}
			for name, to := range map[string]*[]netip.Prefix{"allow": &in.allow, "deny": &in.deny} {
				for _, s := range schema.Strings(c[name]) {
					p, err := parse(s)
					if err != nil {
						return nil, err
					}
					*to = append(*to, p)
				}
			}
			if s, ok := c["status"].(float64); ok {
				in.status = int(s)
			}
			in.message, _ = c["message"].(string)
			return in, nil
		},
	}
}

// parse reads an address or a range.
func parse(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

type instance struct {
	allow, deny []netip.Prefix
	status      int
	message     string
}

// permits reports whether an address may pass.
func (in *instance) permits(a netip.Addr) bool {
	holds := func(p netip.Prefix) bool { return p.Contains(a) }
	return !slices.ContainsFunc(in.deny, holds) && (len(in.allow) == 0 || slices.ContainsFunc(in.allow, holds))
}

// Preread implements gateway.Prereader.
func (in *instance) Preread(x *gateway.Exchange) { in.Access(x) }

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	if in.permits(x.Client().Addr().Unmap()) {
		return
	}
	message := in.message
	if message == "" {
		message = "IP address not allowed: " + x.ClientIP()
	}
	x.Fail(in.status, message)
}
