package acl

import (
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const collection = "acls"

// New returns the kind.
func New() gateway.Plugin {
	return gateway.Plugin{
		Name: "acl", Version: gateway.Version, Priority: 950, NoScopes: auth.NoScopes, Protocols: auth.HTTP,
		Config: &schema.Field{
			Fields: []*schema.Field{
				schema.StringArray("allow", "Groups that may pass."),
				schema.StringArray("deny", "Groups that may not pass."),
				schema.Flag("hide_groups_header", "Do not tell the upstream the groups.", false),
				schema.Flag("always_use_authenticated_groups",
					"Look at the groups that authentication found also where there is a consumer.", false),
			},
			Checks: []schema.Check{{OnlyOneOf: []string{"allow", "deny"}}},
		},
		Entities: []*schema.Entity{auth.Credential(
			schema.Entity{Name: collection, KeyUnder: "group", UniqueTogether: []string{"consumer", "group"}},
			&schema.Field{Name: "group", Kind: schema.String, Required: true},
		)},
		New: func(c schema.Record, env gateway.Env) (any, error) {
			in := &instance{directory: env.Directory, listed: schema.Strings(c["allow"]), allow: !schema.Empty(c["allow"])}
			if !in.allow {
				in.listed = schema.Strings(c["deny"])
			}
			in.hide, _ = c["hide_groups_header"].(bool)
			in.authenticated, _ = c["always_use_authenticated_groups"].(bool)
			return in, nil
		},
	}
}

type instance struct {
	directory     gateway.Directory
	listed        []string
	allow         bool // listed may pass; otherwise listed may not
	hide          bool
	authenticated bool
}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	groups, header := x.Groups(), "X-Authenticated-Groups"
	if c := x.Consumer(); c != nil && (!in.authenticated || groups == nil) {
		groups, header = in.groupsOf(c), "X-Consumer-Groups"
	} else if groups == nil {
		if x.Credential() != nil {
			x.Fail(403, "You cannot consume this service")
		} else {
			x.Fail(401, "Unauthorized")
		}
		return
	}
	listed := slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(in.listed, g) })
	if listed != in.allow {
		x.Fail(403, "You cannot consume this service")
		return
	}
	if in.hide || len(groups) == 0 {
		x.Request.Header.Del(header)
		return
	}
	x.Request.Header.Set(header, strings.Join(groups, ", "))
}

func (in *instance) groupsOf(c *gateway.Consumer) []string {
	groups := []string{}
	for r := range in.directory.Children(collection, "consumer", c.ID) {
		if g, _ := r["group"].(string); g != "" {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	return groups
}
