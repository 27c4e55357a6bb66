package gateway

import (
	"math/rand/v2"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/balancer"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// upstream is a compiled, immutable view of the stored entity with its targets. Its
// balancer lives on from view to view.
type upstream struct {
	id         string
	doc        *schema.Record
	targets    []*schema.Record
	balancer   *balancer.Upstream
	on         hashInput
	fallback   hashInput
	cookiePath string
}

// hashInput says what of a request is hashed: kind is a value of hash_on, name what it is
// called there.
type hashInput struct{ kind, name string }

// buildUpstreams compiles the upstreams, by name. What did not change is taken over; the
// balancers of those that are gone end. It is called under g.building.
func (g *Gateway) buildUpstreams(view *store.Snapshot) map[string]*upstream {
	next, byName := map[string]*upstream{}, map[string]*upstream{}
	for id, doc := range g.collection("upstreams").All(view, "") {
		var targets []*schema.Record
		for _, t := range g.collection("targets").Find(view, "upstream", id) {
			targets = append(targets, t)
		}
		u := g.upstreams[id]
		if u == nil || u.doc != doc || !slices.Equal(u.targets, targets) {
			u = g.compileUpstream(id, doc, targets, u)
		}
		next[id], byName[str((*doc)["name"])] = u, u
	}
	for id, u := range g.upstreams {
		if next[id] == nil {
			g.retired.Go(u.balancer.Close)
		}
	}
	g.upstreams = next
	return byName
}

func (g *Gateway) compileUpstream(id string, doc *schema.Record, targets []*schema.Record, old *upstream) *upstream {
	r := *doc
	u := &upstream{id: id, doc: doc, targets: targets, cookiePath: str(r["hash_on_cookie_path"])}
	input := func(kind, prefix string) hashInput {
		in := hashInput{kind: kind}
		switch kind {
		case "cookie":
			in.name = str(r["hash_on_cookie"])
		case "header", "query_arg", "uri_capture":
			in.name = str(r[prefix+kind])
		}
		return in
	}
	u.on, u.fallback = input(str(r["hash_on"]), "hash_on_"), input(str(r["hash_fallback"]), "hash_fallback_")
	c := &balancer.Config{
		Name: str(r["name"]), Slots: num(r["slots"]), HostHeader: str(r["host_header"]), Checks: compileChecks(r["healthchecks"]),
	}
	c.UseSRVName, _ = r["use_srv_name"].(bool)
	switch str(r["algorithm"]) {
	case "consistent-hashing":
		c.Algorithm = balancer.ConsistentHashing
	case "least-connections":
		c.Algorithm = balancer.LeastConnections
	case "latency":
		c.Algorithm = balancer.Latency
	}
	for _, t := range targets {
		name := str((*t)["target"])
		if host, port, ok := splitTarget(name); ok {
			c.Targets = append(c.Targets, balancer.Target{Name: name, Host: host, Port: port, Weight: num((*t)["weight"])})
		}
	}
	if old != nil {
		u.balancer = old.balancer
		u.balancer.Update(c)
	} else {
		u.balancer = balancer.New(c, balancer.Deps{Resolver: g.deps.Resolver, Clock: g.deps.Clock, Log: g.deps.Log})
	}
	return u
}

func compileChecks(v any) balancer.Checks {
	r, _ := v.(schema.Record)
	at := func(path string) any { return schema.At(r, path) }
	codes := func(path string) balancer.Statuses {
		var all []int
		l, _ := at(path).([]any)
		for _, c := range l {
			all = append(all, num(c))
		}
		return balancer.NewStatuses(all...)
	}
	seconds := func(path string) time.Duration {
		n, _ := at(path).(float64)
		return time.Duration(n * float64(time.Second))
	}
	rules := func(kind string) balancer.Rules {
		return balancer.Rules{
			TCPOnly: at(kind+".type") == "tcp",
			Healthy: codes(kind + ".healthy.http_statuses"), Unhealthy: codes(kind + ".unhealthy.http_statuses"),
			Successes: num(at(kind + ".healthy.successes")), TCPFailures: num(at(kind + ".unhealthy.tcp_failures")),
			Timeouts: num(at(kind + ".unhealthy.timeouts")), Failures: num(at(kind + ".unhealthy.http_failures")),
		}
	}
	c := balancer.Checks{Passive: rules("passive"), Active: balancer.Probing{
		Rules: rules("active"), Path: str(at("active.http_path")), SNI: str(at("active.https_sni")),
		Timeout: max(seconds("active.timeout"), time.Millisecond), Concurrency: num(at("active.concurrency")),
		HealthyInterval: seconds("active.healthy.interval"), UnhealthyInterval: seconds("active.unhealthy.interval"),
	}}
	c.Threshold, _ = at("threshold").(float64)
	c.Active.Verify, _ = at("active.https_verify_certificate").(bool)
	switch at("active.type") {
	case "https":
		c.Active.Kind = balancer.ProbeHTTPS
	case "tcp":
		c.Active.Kind = balancer.ProbeTCP
	case "grpc":
		c.Active.Kind = balancer.ProbeGRPC
	case "grpcs":
		c.Active.Kind = balancer.ProbeGRPCS
	}
	headers, _ := at("active.headers").(schema.Record)
	for name, values := range headers {
		for _, v := range list(values) {
			c.Active.Headers = append(c.Active.Headers, [2]string{name, v})
		}
	}
	return c
}

// NextTry is for the engine: an attempt begins, at the address it leaves in
// Upstream.Address, if possible one that was not tried yet. HostHeader says what goes with
// it. balancer.ErrNoPeer and balancer.ErrName say that there is no address.
func (x *Exchange) NextTry(start time.Time) error {
	x.endTry(0)
	u := &x.Upstream
	if u.Service.ip.IsValid() {
		u.Address = u.Service.ip
		x.beginTry(Try{Address: u.Address, Start: start})
		return nil
	}
	if err := x.choose(); err != nil {
		return err
	}
	x.tried = append(x.tried, u.Address)
	x.beginTry(Try{Address: u.Address, Start: start, Latency: time.Since(start)})
	return nil
}

func (x *Exchange) choose() error {
	u := &x.Upstream
	if via := x.snap.upstreams[u.Service.Host]; via != nil {
		if via.balancer.Config().Algorithm == balancer.ConsistentHashing && !x.hashed {
			x.hash, x.hashed = x.hashFor(via), true
		}
		peer, err := via.balancer.Pick(x.Context(), x.hash, x.tried)
		if err != nil {
			return err
		}
		peer.Begin()
		x.peer, u.Address = peer, peer.Addr
		x.hostIs(peer.HostHeader(u.Service.TLS()))
		return nil
	}
	answer, err := x.gw.deps.Resolver.Lookup(x.Context(), u.Service.Host)
	if err != nil {
		return err
	}
	r := pickRecord(answer.Records, uint16(u.Service.Port), x.tried)
	u.Address = netip.AddrPortFrom(r.Addr, uint16(u.Service.Port))
	if r.Port != 0 && int(r.Port) != u.Service.Port {
		u.Address = netip.AddrPortFrom(r.Addr, r.Port)
		s := *u.Service
		s.Port = int(r.Port)
		s.address()
		x.hostIs(s.HostHeader)
	}
	return nil
}

// hostIs sets the Host header, unless the client's is preserved or a plugin has set another.
func (x *Exchange) hostIs(host string) {
	if u := &x.Upstream; u.derived && u.HostHeader == u.derivedHost {
		u.HostHeader, u.derivedHost = host, host
	}
}

// pickRecord chooses any record, by weight where they have any, that was not tried yet.
func pickRecord(records []balancer.Record, port uint16, tried []netip.AddrPort) balancer.Record {
	total := 0
	untried := func(r *balancer.Record) bool {
		p := r.Port
		if p == 0 {
			p = port
		}
		return !slices.Contains(tried, netip.AddrPortFrom(r.Addr, p))
	}
	for i := range records {
		if untried(&records[i]) {
			total += max(int(records[i].Weight), 1)
		}
	}
	if total == 0 {
		return records[rand.IntN(len(records))]
	}
	n := rand.IntN(total)
	for i := range records {
		if !untried(&records[i]) {
			continue
		}
		if n -= max(int(records[i].Weight), 1); n < 0 {
			return records[i]
		}
	}
	return records[0] // not reached: the weights add up to total
}

// hashFor hashes what the upstream wants to be hashed of the request. A request that has
// none of it goes anywhere.
func (x *Exchange) hashFor(u *upstream) uint64 {
	for _, in := range [2]hashInput{u.on, u.fallback} {
		if h, ok := x.hashInput(u, in); ok {
			return h
		}
	}
	return rand.Uint64()
}

func (x *Exchange) hashInput(u *upstream, in hashInput) (uint64, bool) {
	sum := func(s string) (uint64, bool) { return xxhash.Sum64String(s), s != "" }
	switch in.kind {
	case "consumer":
		switch {
		case x.consumer != nil:
			return sum(x.consumer.ID)
		case x.credential != nil:
			return sum(x.credential.ID)
		}
	case "ip":
		return sum(x.ClientIP())
	case "path":
		return sum(x.Request.Path)
	case "header":
		return x.hashHeader(in.name)
	case "query_arg":
		return sum(queryArg(x.Request.RawQuery, in.name))
	case "uri_capture":
		names, values := x.match.Captures(x.Request.Path)
		for i := range values {
			if i > 0 && (names[i] == in.name || strconv.Itoa(i) == in.name) {
				return sum(values[i])
			}
		}
	case "cookie":
		value := cookie(&x.Request.Header, in.name)
		if value == "" {
			value = uuid.NewString()
			x.setCookie = in.name + "=" + value + "; Path=" + u.cookiePath
		}
		return sum(value)
	}
	return 0, false
}

// hashHeader hashes all lines of a name.
func (x *Exchange) hashHeader(name string) (uint64, bool) {
	var d xxhash.Digest
	d.Reset()
	found := false
	for _, f := range x.Request.Header.Fields() {
		if EqualFold(f.Name, name) {
			d.WriteString(f.Value)
			found = true
		}
	}
	return d.Sum64(), found
}

func queryArg(raw, name string) string {
	for pair := range strings.SplitSeq(raw, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k != name {
			if u, err := url.QueryUnescape(k); err != nil || u != name {
				continue
			}
		}
		if u, err := url.QueryUnescape(v); err == nil {
			return u
		}
		return v
	}
	return ""
}

func cookie(h *Header, name string) string {
	for _, f := range h.Fields() {
		if !EqualFold(f.Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(f.Value, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
				return strings.Trim(v, "\"")
			}
		}
	}
	return ""
}

// FailTry is for the engine: the attempt begun last has failed, with 502 or 504.
func (x *Exchange) FailTry(code int) {
	if n := len(x.tries); n > 0 {
		t := &x.tries[n-1]
		t.Failed, t.State, t.Code = true, "failed", code
	}
	if x.peer != nil {
		x.peer.Failed(code == 504)
	}
	x.endTry(0)
}

// AnswerTry is for the engine: the attempt begun last was answered, with a status.
func (x *Exchange) AnswerTry(status int) {
	if x.peer != nil {
		x.peer.Answered(status)
	}
}

// endTry gives the address back that an attempt was at. took is the time to the answer.
func (x *Exchange) endTry(took time.Duration) {
	if x.peer != nil {
		x.peer.Done(took)
		x.peer = nil
	}
}

// UpstreamStatus returns how an upstream is; false where no such upstream is compiled.
func (g *Gateway) UpstreamStatus(id string) (balancer.Status, bool) {
	if u := g.upstream(id); u != nil {
		return u.balancer.Status(), true
	}
	return balancer.Status{}, false
}

// SetTargetHealth makes a target of an upstream healthy or unhealthy, all of its addresses
// or the one given. It reports whether there was any.
func (g *Gateway) SetTargetHealth(upstreamID, target, address string, healthy bool) bool {
	u := g.upstream(upstreamID)
	return u != nil && u.balancer.SetHealth(target, address, healthy)
}

func (g *Gateway) upstream(id string) *upstream {
	g.building.Lock()
	defer g.building.Unlock()
	return g.upstreams[id]
}

// ServerName is the name that the upstream's certificate is for, and that TLS asks for
// where it is no IP address: the Host header's, without a port.
func (u *Upstream) ServerName() string {
	host := u.HostHeader
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}
