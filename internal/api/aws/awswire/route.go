package awswire

import (
	"cmp"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route finds the API and the protocol of a request, without its body. What the request
// itself says comes first (a target, a form), then the service of its credential scope.
func (s *server) route(c *call) error {
	r := c.r
	scoped := s.bySigning[c.auth.scope.service]
	if target := r.Header.Get("X-Amz-Target"); target != "" && (scoped == nil || !scoped.speaks(S3)) {
		return s.routeTarget(c, target)
	}
	c.protocol = RestJSON
	switch {
	case scoped == nil && (isForm(r) || c.m.query.Has("Action")):
		c.protocol = Query // only to answer in; the form may be for an API that is not served
		if c.front = s.byVersion[c.m.query.Get("Version")]; c.front != nil {
			c.protocol = c.front.formProtocol()
		}
		return nil
	case scoped == nil && c.auth.scope.service != "":
		return failf(unknownOp, "No service named %s is served here.", clip(c.auth.scope.service))
	case scoped == nil: // nobody signed; only S3 has anything to say to that
		if c.front = s.bySigning["s3"]; c.front != nil {
			c.protocol = S3
		}
		return nil
	}
	c.front = scoped
	if p := scoped.formProtocol(); p != 0 && (isForm(r) || c.m.query.Has("Action")) {
		c.protocol = p
		return nil
	}
	for _, p := range scoped.API.Protocols {
		if p == RestJSON || p == RestXML || p == S3 {
			c.protocol = p
			return nil
		}
	}
	// The scoped API takes neither forms nor paths, so the scope is another API's.
	if isForm(r) || c.m.query.Has("Action") {
		c.protocol = Query
	} else if s.bySigning["s3"] != nil {
		c.protocol = S3
	}
	return failf(wrongSignature, "Credential should be scoped to correct service: it is for '%s'.", scoped.API.Signing)
}

// routeTarget finds the API of X-Amz-Target: Kinesis_20131202.CreateStream.
func (s *server) routeTarget(c *call, target string) error {
	c.protocol = JSON11
	if strings.HasSuffix(mediaType(c.r), "-1.0") {
		c.protocol = JSON10
	}
	prefix, op, _ := cutLast(target, ".")
	c.front = s.byTarget[prefix]
	if c.front == nil {
		return failf(unknownOp, "No API with the target %s is served here.", clip(prefix))
	}
	c.name = op
	return nil
}

func isForm(r *http.Request) bool {
	return r.Method == http.MethodPost && mediaType(r) == "application/x-www-form-urlencoded"
}

func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

func (f *front) speaks(p Protocol) bool { return slices.Contains(f.API.Protocols, p) }

// formProtocol returns the protocol among the API's that takes forms, or 0.
func (f *front) formProtocol() Protocol {
	for _, p := range []Protocol{Query, EC2} {
		if f.speaks(p) {
			return p
		}
	}
	return 0
}

// operation finds the operation a verified request asks for.
func (s *server) operation(c *call) error {
	switch c.protocol {
	case Query, EC2:
		c.name = c.m.query.Get("Action")
		if v := c.m.query.Get("Version"); v != c.front.API.Version {
			return failf(unknownOp, "Could not find operation %s for version %s", clip(c.name), orElse(clip(v), "NO_VERSION_SPECIFIED"))
		}
	case RestJSON, RestXML, S3:
		rt, labels, err := c.front.match(c.r.Method, c.path, c.m.query, c.r.Header)
		if err != nil {
			return err
		}
		if !rt.served {
			return failf(notServed, "The operation %s is not implemented.", rt.op.Name)
		}
		c.name, c.m.labels = rt.op.Name, labels
	}
	h, ok := c.front.handlers[c.name]
	if !ok {
		if c.protocol == Query || c.protocol == EC2 {
			return failf(unknownOp, "Could not find operation %s for version %s", orElse(clip(c.name), "NO_ACTION"), c.front.API.Version)
		}
		return failf(unknownOp, "The operation %s is not known or not served.", clip(c.name))
	}
	c.handler, c.op = h, c.front.API.op(c.name)
	return nil
}

// restRoute is the method, path and needs of an operation of a REST protocol.
type restRoute struct {
	op      *Op
	served  bool
	path    []string // segments; {Label}, {Label+} or literal
	query   [][2]string
	headers []string
	rank    [3]int // literal segments, whether the whole path is named, other needs
}

func newRestRoute(op *Op, served bool) *restRoute {
	path, literal, _ := strings.Cut(op.uri(), "?")
	rt := &restRoute{op: op, served: served, path: segments(path)}
	for part := range strings.SplitSeq(literal, "&") {
		if k, v, _ := strings.Cut(part, "="); k != "" {
			rt.query = append(rt.query, [2]string{k, v})
		}
	}
	for _, need := range strings.Fields(op.Needs) {
		if name, ok := strings.CutPrefix(need, "?"); ok {
			rt.query = append(rt.query, [2]string{name})
		} else {
			rt.headers = append(rt.headers, need)
		}
	}
	rt.rank[1] = 1
	for _, p := range rt.path {
		switch {
		case !strings.HasPrefix(p, "{"):
			rt.rank[0]++
		case strings.HasSuffix(p, "+}"):
			rt.rank[1] = 0
		}
	}
	rt.rank[2] = len(rt.query) + len(rt.headers)
	return rt
}

// segments splits a path; a single slash at its end does not count.
func segments(path string) []string {
	path = strings.TrimPrefix(path, "/")
	path = strings.TrimSuffix(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// match returns the route of a request: of those that fit, the one that asks for most, for a
// request for ?acl must not be taken for one for the bucket.
func (f *front) match(method, path string, query url.Values, h http.Header) (*restRoute, map[string]string, error) {
	for _, rt := range f.routes { // the most demanding first
		if rt.op.method() != method || !rt.fits(query, h) {
			continue
		}
		labels, ok, err := rt.labels(path)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			return rt, labels, nil
		}
	}
	return nil, nil, failf(unknownOp, "The specified method is not allowed against this resource.")
}

func (rt *restRoute) fits(query url.Values, h http.Header) bool {
	for _, q := range rt.query {
		values, ok := query[q[0]]
		if !ok || q[1] != "" && !slices.Contains(values, q[1]) {
			return false
		}
	}
	for _, name := range rt.headers {
		if h.Get(name) == "" {
			return false
		}
	}
	return true
}

// labels matches an escaped path. A greedy label takes the rest, slashes and all, verbatim.
func (rt *restRoute) labels(path string) (map[string]string, bool, error) {
	labels := map[string]string{}
	rest := strings.TrimPrefix(path, "/")
	for i, p := range rt.path {
		name := strings.Trim(p, "{}")
		if greedy, ok := strings.CutSuffix(name, "+"); ok {
			if rest == "" {
				return nil, false, nil
			}
			value, err := unescape(rest)
			labels[greedy] = value
			return labels, true, err
		}
		segment, after, more := strings.Cut(rest, "/")
		if segment == "" || !more && i < len(rt.path)-1 {
			return nil, false, nil
		}
		if p == name { // literal
			if segment != p {
				return nil, false, nil
			}
		} else {
			value, err := unescape(segment)
			if err != nil {
				return nil, false, err
			}
			labels[name] = value
		}
		rest = after
	}
	return labels, rest == "", nil
}

func unescape(s string) (string, error) {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return "", failf(mistyped, "Couldn't parse the specified URI.")
	}
	return plain, nil
}

func sortRoutes(routes []*restRoute) {
	slices.SortStableFunc(routes, func(a, b *restRoute) int {
		if d := slices.Compare(b.rank[:], a.rank[:]); d != 0 {
			return d
		}
		served := func(r *restRoute) int {
			if r.served {
				return 0
			}
			return 1
		}
		return cmp.Compare(served(a), served(b)) // ListBuckets before its unserved twin
	})
}

// bucketOf returns the bucket that the host of a request names: bucket.s3.localhost,
// bucket.s3.region.localhost or bucket.localhost, for every base domain. Empty for a path-style host.
func bucketOf(host string, domains []string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(host)
	for _, domain := range domains {
		rest, ok := strings.CutSuffix(host, "."+strings.ToLower(domain))
		if !ok {
			continue
		}
		switch bucket, _, found := cutLast(rest, ".s3."); {
		case rest == "s3" || strings.HasPrefix(rest, "s3.") && !found:
			return ""
		case found:
			return bucket
		default:
			return strings.TrimSuffix(rest, ".s3")
		}
	}
	return ""
}
