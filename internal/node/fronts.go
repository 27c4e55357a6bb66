package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/firehose"
	awsiam "sluice.dev/sluice/internal/api/aws/iam"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	awskms "sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
	"sluice.dev/sluice/internal/api/aws/sts"
	"sluice.dev/sluice/internal/api/console"
	"sluice.dev/sluice/internal/api/efm"
	"sluice.dev/sluice/internal/api/kong"
	"sluice.dev/sluice/internal/api/mapr"
	"sluice.dev/sluice/internal/api/pgwire"
	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/api/status"
	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/page"
	"sluice.dev/sluice/internal/service/audit"
	"sluice.dev/sluice/internal/service/gateway/plugin/prometheus"
)

// fronts is floor 2 at work.
type fronts struct {
	proxy *proxy.Proxy
	kong  http.Handler
	// console is what operators and edge agents speak with.
	console http.Handler
	aws     http.Handler
	sql     *pgwire.Server
	status  *status.Handler
	tls     *tls.Config
	// consoleTLS is of the console's port; nil where that is plain.
	consoleTLS *tls.Config
}

var errStoreSilent = errors.New("the control store does not answer")

func openFronts(c *Config, b *base, s *services, m *metrics, ca *authority, level *level) (*fronts, error) {
	cert, err := ca.server(c.Host, b.clock.Now())
	if err != nil {
		return nil, err
	}
	tokens, err := page.New(b.data.key("tokens"))
	if err != nil {
		return nil, err
	}
	f := &fronts{tls: cert}
	trust, err := c.trust()
	if err != nil {
		return nil, err
	}
	forClients := cert.Clone()
	if c.Gate.TLSCert != "" {
		own, err := tls.LoadX509KeyPair(c.Gate.TLSCert, c.Gate.TLSKey)
		if err != nil {
			return nil, config.Invalid.Wrap(err, "gate.tls_cert")
		}
		forClients.Certificates, forClients.GetCertificate = []tls.Certificate{own}, nil
	}
	f.proxy = proxy.New(proxy.Config{TLS: forClients, Trust: trust, ProxyProtocol: c.Gate.ProxyProtocol, UpstreamIdle: c.Gate.UpstreamIdle,
		UpstreamRequests: c.Gate.UpstreamRequests, UpstreamIdleTimeout: c.Gate.UpstreamIdleTimeout}, proxy.Deps{Gateway: s.gateway, Log: b.log, Staple: s.staple})
	here := s.local
	if here == nil {
		here = new(local)
	}
	datas := []awswire.Service{s3.New(here.objects, tokens), kinesis.New(here.streams, tokens), firehose.New(here.delivery)}
	if s.local == nil {
		forward := elsewhere{s.cluster.mesh, c.Cluster.DataNode}.aws(b.log)
		for i := range datas {
			datas[i].Elsewhere = forward
		}
	}
	f.aws = awswire.New(awswire.Config{
		Services: []awswire.Service{
			sts.New(), awsiam.New(s.iam, tokens), awskms.New(s.kms, tokens), datas[0], datas[1], datas[2],
		},
		Credentials: credentials{s.iam}, Clock: b.clock, Log: b.log, Hosts: c.browser().KnowsHost,
		Observe: func(call awswire.Call) {
			m.called(call)
			if call.Identity.AccessKeyID != "" {
				s.iam.Used(call.Identity.AccessKeyID, call.Service, call.Region)
			}
		},
	})
	s.cluster.tell(c, s.local != nil, func() int64 { return f.proxy.Stats().Active.Load() }, f.proxy.Drain)
	storeReachable := func() bool { return b.store.Silence() < 5*time.Second }
	s.observers.node = func() prometheus.Node {
		st := f.proxy.Stats()
		return prometheus.Node{Accepted: st.Accepted.Load(), Active: st.Active.Load(), Requests: st.Requests.Load(), StoreReachable: storeReachable()}
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "localhost"
	}
	if f.consoleTLS, err = c.consoleTLS(b, ca, f.tls); err != nil {
		return nil, err
	}
	f.kong = kong.New(
		kong.Config{Token: c.Kong.AdminToken, ReadToken: c.Kong.ReadToken, Closed: c.Kong.AdminAuth || !Loopback(c.Kong.AdminHost), DBLess: c.dbless(), Hostname: hostname, NodeID: s.observers.nodeID, Started: b.clock.Now(),
			Settings: c.kongSettings()},
		kong.Deps{Gateway: s.gateway, References: s.references, Log: b.log, LogLevel: level,
			Identify: adminIdentity{kong.ServiceName, credentials{s.iam}, awswire.NewSignatures(credentials{s.iam}, b.clock.Now)}.identify,
			Authorize: func(ctx context.Context, action name.Action, path string) error {
				return s.iam.Authorize(ctx, action, name.ARN{Service: kong.ServiceName, Region: c.Region, Resource: path})
			},
			Audit: func(ctx context.Context, offset string, size int) (any, string, error) {
				entries, next, err := s.audit.List(ctx, offset, size)
				if entries == nil {
					entries = []audit.Entry{}
				}
				return entries, next, err
			},
			Connections: func() kong.Connections {
				st := f.proxy.Stats()
				return kong.Connections{Accepted: st.Accepted.Load(), Active: st.Active.Load(), Requests: st.Requests.Load()}
			},
			StoreReachable: storeReachable})
	if s.local != nil {
		if f.sql, err = pgwire.New(pgwire.Config{TLS: cert.Clone(), RequireTLS: c.TLS},
			pgwire.Deps{Warehouse: s.local.warehouse, Passwords: credentials{s.iam}, Log: b.log}); err != nil {
			return nil, err
		}
	}
	detail := map[string]func() any{"deliveries": func() any { return []struct{}{} }}
	if s.local != nil {
		detail["deliveries"] = func() any { return s.local.delivery.Deliveries() }
	}
	operators := adminIdentity{OperatorService, credentials{s.iam}, awswire.NewSignatures(credentials{s.iam}, b.clock.Now)}.identify
	mayLook := func(r *http.Request) error {
		if fromHere(r) {
			return nil
		}
		r, err := console.Identified(r, operators)
		if err == nil {
			_, err = s.cluster.service.Describe(r.Context(), s.cluster.service.Self())
		}
		return err
	}
	f.status = status.New(status.Deps{Registry: m.registry, Allow: mayLook, Jobs: b.jobs.States, CA: ca.pem(),
		Healthy:    func() error { return errors.Join(b.guard.Check(), s.cluster.service.Ready()) },
		Detail:     detail,
		Components: map[string]func() error{"diskSpace": b.guard.Check, "cluster": s.cluster.service.Ready},
		// Without these a node goes on with what it can: a balancer must not take it out for them.
		Degraded: map[string]func() error{"db": func() error {
			if !storeReachable() {
				return errStoreSilent
			}
			return nil
		}, "dataNode": s.cluster.service.DataNode, "mesh": s.cluster.service.Connected}})
	edgeAPI, err := efm.New(efm.Config{Context: c.Console.ContextPath, Origins: c.browser().Origins}, efm.Deps{Edge: s.edge, Fingerprint: fingerprint(f.consoleTLS),
		Identify: func(r *http.Request) (*http.Request, error) { return console.Identified(r, operators) },
		Fail:     func(w http.ResponseWriter, err error) { console.WriteError(w, b.log, err) }})
	if err != nil {
		return nil, err
	}
	f.console = openAgentFront(c, b, s, ca, operators, console.New(console.Deps{Listeners: c.listeners(), Cluster: s.cluster.service, Identify: operators, Log: b.log, Mounts: map[string]http.Handler{
		c.Console.ContextPath + "/actuator/": f.status.Actuator(c.Console.ContextPath),
		c.Console.ContextPath + "/api/":      edgeAPI,
		"/rest/":                             mapr.New(mapr.Deps{Cluster: s.cluster.service, Self: s.cluster.service.Self(), Identify: operators, Clock: b.clock, Log: b.log}),
	}}))
	return f, nil
}
