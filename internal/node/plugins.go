package node

import (
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/acl"
	"sluice.dev/sluice/internal/service/gateway/plugin/acme"
	"sluice.dev/sluice/internal/service/gateway/plugin/aiprompt"
	"sluice.dev/sluice/internal/service/gateway/plugin/aiproxy"
	"sluice.dev/sluice/internal/service/gateway/plugin/awslambda"
	"sluice.dev/sluice/internal/service/gateway/plugin/azurefunctions"
	"sluice.dev/sluice/internal/service/gateway/plugin/basicauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/botdetection"
	"sluice.dev/sluice/internal/service/gateway/plugin/correlationid"
	"sluice.dev/sluice/internal/service/gateway/plugin/cors"
	"sluice.dev/sluice/internal/service/gateway/plugin/grpcgateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/grpcweb"
	"sluice.dev/sluice/internal/service/gateway/plugin/hmacauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/iprestriction"
	"sluice.dev/sluice/internal/service/gateway/plugin/jwt"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/ldapauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/mtlsauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/oauth2"
	"sluice.dev/sluice/internal/service/gateway/plugin/openidconnect"
	"sluice.dev/sluice/internal/service/gateway/plugin/proxycache"
	"sluice.dev/sluice/internal/service/gateway/plugin/ratelimiting"
	"sluice.dev/sluice/internal/service/gateway/plugin/redirect"
	"sluice.dev/sluice/internal/service/gateway/plugin/requestsize"
	"sluice.dev/sluice/internal/service/gateway/plugin/responseratelimiting"
	"sluice.dev/sluice/internal/service/gateway/plugin/session"
	"sluice.dev/sluice/internal/service/gateway/plugin/standardwebhooks"
	"sluice.dev/sluice/internal/service/gateway/plugin/termination"
)

// kinds are the kinds of plugin that need nothing from the node but what the gateway gives
// every instance. A kind of your own goes into this list; docs/add-a-plugin.md shows how.
func kinds() []gateway.Plugin {
	return []gateway.Plugin{
		keyauth.New(), basicauth.New(), mtlsauth.New(), jwt.New(), hmacauth.New(), ldapauth.New(), session.New(), acme.New(acme.Deps{}), oauth2.New(), openidconnect.New(), acl.New(),
		ratelimiting.New(), responseratelimiting.New(),
		correlationid.New(), botdetection.New(), cors.New(), iprestriction.New(), requestsize.New(), termination.New(), redirect.New(),
		proxycache.New(proxycache.Deps{}),
		standardwebhooks.New(), grpcweb.New(), grpcgateway.New(), awslambda.New(), azurefunctions.New(),
		aiprompt.NewTemplate(), aiprompt.NewDecorator(), aiprompt.NewGuard(), aiproxy.New(), aiproxy.NewRequestTransformer(), aiproxy.NewResponseTransformer(),
	}
}
