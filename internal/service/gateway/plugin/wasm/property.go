package wasm

import (
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// What filters may set of properties in one exchange.
const (
	maxProperties = 64
	maxProperty   = 16 << 10
)

// properties are those that filters have set; the filters of an exchange share them.
type properties map[string][]byte

// property answers what the filter asks of its exchange. Numbers are text, as Kong's are.
func (c *call) property() status {
	path, ok := c.bytes(0)
	if !ok {
		return statusInvalidMemory
	}
	name := strings.ReplaceAll(strings.Trim(string(path), "\x00"), "\x00", ".")
	if value, ok := c.ownProperty(name); ok {
		return c.give(2, 3, []byte(value))
	}
	if c.stream == nil || c.stream.x == nil {
		return statusNotFound
	}
	x := c.stream.x
	if set, _ := x.Value(c.filter.engine).(properties); set[name] != nil {
		return c.give(2, 3, set[name])
	}
	value, ok := propertyOf(x, name)
	if !ok {
		return statusNotFound
	}
	return c.give(2, 3, []byte(value))
}

// ownProperty is what does not depend on the exchange.
func (c *call) ownProperty(name string) (string, bool) {
	switch name {
	case "plugin_name", "plugin_root_id", "plugin_vm_id":
		return c.filter.module.name, true
	case "kong.version":
		return gateway.Version, true
	case "node.id", "kong.node.id":
		return c.filter.engine.deps.NodeID, true
	}
	return "", false
}

func (c *call) setProperty() status {
	path, ok := c.bytes(0)
	value, ok2 := c.bytes(2)
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	if c.stream == nil || c.stream.x == nil {
		return statusNotFound
	}
	name := strings.ReplaceAll(strings.Trim(string(path), "\x00"), "\x00", ".")
	e, x := c.filter.engine, c.stream.x
	set, _ := x.Value(e).(properties)
	_, own := c.ownProperty(name)
	_, given := propertyOf(x, name)
	switch {
	case own || given || len(name)+len(value) > maxProperty || set[name] == nil && len(set) >= maxProperties:
		return statusBadArgument
	case set == nil:
		set = properties{}
		x.Put(e, set)
	}
	set[name] = append([]byte{}, value...)
	return statusOK
}

// propertyOf is a property of the exchange.
func propertyOf(x *gateway.Exchange, name string) (string, bool) {
	r := &x.Request
	if header, ok := strings.CutPrefix(name, "request.headers."); ok {
		return editable{x, &r.Header, false}.get(header)
	}
	if header, ok := strings.CutPrefix(name, "response.headers."); ok {
		return x.Response.Header.Lookup(header)
	}
	number := func(n int64) (string, bool) { return strconv.FormatInt(n, 10), true }
	switch name {
	case "request.path":
		return target(x), true
	case "request.url_path":
		return r.Path, true
	case "request.query":
		return r.RawQuery, true
	case "request.host":
		return r.Authority, true
	case "request.scheme":
		return r.Scheme, true
	case "request.method":
		return r.Method, true
	case "request.referer":
		return r.Header.Lookup("Referer")
	case "request.useragent":
		return r.Header.Lookup("User-Agent")
	case "request.id":
		return x.ID(), true
	case "request.protocol":
		if r.Proto == 2 {
			return "HTTP/2.0", true
		}
		return "HTTP/1." + strconv.Itoa(r.Minor), true
	case "request.time":
		return x.Times.Start.UTC().Format(time.RFC3339Nano), !x.Times.Start.IsZero()
	case "request.size":
		return number(max(r.Length, 0))
	case "response.code":
		return strconv.Itoa(x.Response.Status), x.Response.Status != 0
	case "response.size":
		return number(x.Times.BytesOut)
	case "source.address":
		return x.Conn.Peer.String(), true
	case "source.port":
		return number(int64(x.Conn.Peer.Port()))
	case "destination.address":
		return x.Conn.Local.String(), x.Conn.Local.IsValid()
	case "destination.port":
		return number(int64(x.Conn.ServerPort))
	case "connection.requested_server_name":
		if x.Conn.TLS == nil {
			return "", false
		}
		return x.Conn.TLS.ServerName, true
	case "upstream.address":
		return x.Upstream.Address.String(), x.Upstream.Address.IsValid()
	case "kong.client_ip":
		return x.ClientIP(), true
	}
	return kongProperty(x, name)
}

// kongProperty is what Kong adds of its own entities.
func kongProperty(x *gateway.Exchange, name string) (string, bool) {
	route, service, consumer := x.Route(), x.Upstream.Service, x.Consumer()
	switch {
	case name == "kong.route_id" && route != nil:
		return route.ID, true
	case name == "kong.route_name" && route != nil:
		return route.Name, true
	case name == "kong.service_id" && service != nil:
		return service.ID, true
	case name == "kong.service_name" && service != nil:
		return service.Name, true
	case name == "kong.consumer_id" && consumer != nil:
		return consumer.ID, true
	case name == "kong.consumer_username" && consumer != nil:
		return consumer.Username, true
	}
	return "", false
}
