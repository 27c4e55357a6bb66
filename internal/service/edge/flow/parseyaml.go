package flow

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// ParseYAML reads MiNiFi Config Version 3, as C++ agents have it. The flow gets an id that
// follows from the root group's: see For. Components without an id get one that follows from
// where they stand. What the text has and a Flow has not is left out and told of in the
// problems, which are warnings.
func ParseYAML(text []byte) (*Flow, []Problem, error) {
	root, err := readYAML(text)
	if err != nil {
		return nil, nil, err
	}
	d := &yamlDecoder{}
	f := d.flow(root)
	if d.err != nil {
		return nil, nil, d.err
	}
	d.unused(root)
	f, err = finish(f)
	return f, d.problems, err
}

// yamlDecoder gathers a flow; the first error stays.
type yamlDecoder struct {
	problems []Problem
	err      error
}

func (d *yamlDecoder) fail(y *yamlNode, format string, args ...any) {
	if d.err == nil {
		d.err = Invalid.Field(y.path, "%s: %s", y.path, fmt.Sprintf(format, args...))
	}
}

// get returns a member by one of the names it may have; nil where it is missing or null.
func (d *yamlDecoder) get(y *yamlNode, keys ...string) *yamlNode {
	if y.fields == nil {
		if !y.null {
			d.fail(y, "expected a map")
		}
		return nil
	}
	for _, key := range keys {
		if v := y.fields[key]; v != nil {
			y.used[key] = true
			if !v.null {
				return v
			}
		}
	}
	return nil
}

// text returns a member that is a scalar, as it is written.
func (d *yamlDecoder) text(y *yamlNode, otherwise string, keys ...string) string {
	v := d.get(y, keys...)
	if v == nil {
		return otherwise
	}
	if !v.scalar {
		d.fail(v, "expected a text")
	}
	return v.text
}

func (d *yamlDecoder) number(y *yamlNode, otherwise int64, key string) int64 {
	v := d.get(y, key)
	if v == nil {
		return otherwise
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if !v.scalar || err != nil {
		d.fail(v, "expected a whole number")
	}
	return n
}

func (d *yamlDecoder) flag(y *yamlNode, key string) bool {
	v := d.get(y, key)
	if v == nil {
		return false
	}
	if v.text != "true" && v.text != "false" {
		d.fail(v, "expected true or false")
	}
	return v.text == "true"
}

// each goes through a member that is a list.
func (d *yamlDecoder) each(y *yamlNode, do func(*yamlNode), keys ...string) {
	v := d.get(y, keys...)
	switch {
	case v == nil:
	case v.list == nil:
		d.fail(v, "expected a list")
	default:
		for _, e := range v.list {
			if d.err == nil {
				do(e)
			}
		}
	}
}

// texts returns a member that is a list of texts, or one text.
func (d *yamlDecoder) texts(y *yamlNode, keys ...string) []string {
	v := d.get(y, keys...)
	if v == nil {
		return nil
	}
	if v.scalar {
		return []string{v.text}
	}
	var out []string
	for _, e := range v.list {
		if !e.scalar {
			d.fail(e, "expected a text")
		}
		out = append(out, e.text)
	}
	if v.list == nil {
		d.fail(v, "expected a list")
	}
	return out
}

// unused warns of the members that nobody asked for.
func (d *yamlDecoder) unused(y *yamlNode) {
	for _, key := range y.keys {
		v := y.fields[key]
		switch {
		case !y.used[key]:
			if !v.null && (v.list == nil || len(v.list) > 0) && (v.fields == nil || len(v.keys) > 0) {
				d.problems = append(d.problems, Problem{Field: v.path, Message: "left out: a flow here has none", Warning: true})
			}
		case v.fields != nil:
			d.unused(v)
		default:
			for _, e := range v.list {
				d.unused(e)
			}
		}
	}
}

func (d *yamlDecoder) flow(y *yamlNode) *Flow {
	if version := d.text(y, "3", "MiNiFi Config Version"); version != "3" {
		d.fail(y, "MiNiFi Config Version %s is not read, only 3", version)
	}
	header := d.get(y, "Flow Controller")
	if header == nil {
		d.fail(y, "Flow Controller is missing")
		return nil
	}
	f := &Flow{Threads: 1, Root: &Group{Head: d.head(header, "root")}}
	f.Root.Comments = d.text(header, "", "comment")
	f.ID = imported(f.Root.ID)
	d.each(y, func(c *yamlNode) { f.Contexts = append(f.Contexts, d.context(c)) }, "Parameter Contexts")
	d.contents(y, f.Root)
	return f
}

// head reads what all components have.
func (d *yamlDecoder) head(y *yamlNode, place string) Head {
	h := Head{ID: strings.ToLower(d.text(y, "", "id")), Name: d.text(y, "", "name"), Revision: Revision{Version: 1}}
	if h.ID == "" {
		h.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(place+" "+y.path+" "+h.Name)).String()
	}
	return h
}

func (d *yamlDecoder) context(y *yamlNode) *ParameterContext {
	c := &ParameterContext{Head: d.head(y, "context"), Inherits: d.texts(y, "Inherited Parameter Contexts")}
	c.Comments = d.text(y, "", "description")
	d.each(y, func(p *yamlNode) {
		v := Parameter{Name: d.text(p, "", "name"), Description: d.text(p, "", "description"), Sensitive: d.flag(p, "sensitive")}
		switch s := d.text(p, "", "value"); {
		case encrypted(s):
			d.problems = append(d.problems, lost(c.ID, "parameters."+v.Name))
		case s != "" || !v.Sensitive:
			v.Value = &s
		}
		c.Parameters = append(c.Parameters, v)
	}, "Parameters")
	return c
}

func (d *yamlDecoder) contents(y *yamlNode, g *Group) {
	g.Context = d.text(y, "", "Parameter Context Name")
	d.each(y, func(p *yamlNode) { g.Processors = append(g.Processors, d.processor(p)) }, "Processors")
	d.each(y, func(s *yamlNode) {
		g.Services = append(g.Services, &ControllerService{Head: d.head(s, "service"), Type: d.text(s, "", "class", "type"),
			Properties: d.properties(s), Bulletins: defaultBulletins})
	}, "Controller Services")
	d.each(y, func(n *yamlNode) { g.Funnels = append(g.Funnels, &Funnel{d.head(n, "funnel")}) }, "Funnels")
	port := func(kind Kind, n *yamlNode) *Port {
		p := &Port{Head: d.head(n, "port"), Type: kind, Tasks: 1}
		if p.Name == "" {
			p.Name = p.ID
		}
		return p
	}
	d.each(y, func(n *yamlNode) { g.Inputs = append(g.Inputs, port(KindInput, n)) }, "Input Ports")
	d.each(y, func(n *yamlNode) { g.Outputs = append(g.Outputs, port(KindOutput, n)) }, "Output Ports")
	d.each(y, func(n *yamlNode) { g.Remotes = append(g.Remotes, d.remote(n)) }, "Remote Process Groups", "Remote Processing Groups")
	d.each(y, func(n *yamlNode) {
		child := &Group{Head: d.head(n, "group")}
		d.contents(n, child)
		g.Groups = append(g.Groups, child)
	}, "Process Groups")
	d.each(y, func(n *yamlNode) { g.Connections = append(g.Connections, d.connection(n, g)) }, "Connections")
}

func (d *yamlDecoder) properties(y *yamlNode) map[string]string {
	props := d.get(y, "Properties")
	if props == nil {
		return nil
	}
	var out map[string]string
	for _, name := range props.keys {
		v := d.get(props, name)
		switch {
		case v == nil: // null is no value
		case !v.scalar:
			d.fail(v, "expected one text: properties with several values are not taken")
		case encrypted(v.text):
			d.problems = append(d.problems, lost(d.text(y, "", "id"), "properties."+name))
		default:
			if out == nil {
				out = map[string]string{}
			}
			out[name] = v.text
		}
	}
	return out
}

func (d *yamlDecoder) processor(y *yamlNode) *Processor {
	nanos := d.number(y, 0, "run duration nanos")
	return &Processor{
		Head: d.head(y, "processor"), Type: d.text(y, "", "class", "type"), Properties: d.properties(y),
		Strategy: d.text(y, defaultStrategy, "scheduling strategy"), Period: d.text(y, "1000 ms", "scheduling period"),
		Tasks: int(d.number(y, 1, "max concurrent tasks")), Penalty: d.text(y, defaultPenalty, "penalization period"),
		Yield: d.text(y, defaultYield, "yield period"), Bulletins: d.text(y, defaultBulletins, "bulletin level"),
		RunMillis: nanos / 1_000_000, AutoTerminated: d.texts(y, "auto-terminated relationships list"),
	}
}

// digits is an amount of bytes without a unit.
var digits = regexp.MustCompile(`^\d+$`)

func (d *yamlDecoder) connection(y *yamlNode, g *Group) *Connection {
	c := &Connection{
		Head:        d.head(y, "connection"),
		Source:      End{ID: d.end(y, g, "source id", "source name")},
		Destination: End{ID: d.end(y, g, "destination id", "destination name")},
		// The defaults of C++ agents; the relationships are in either of two members.
		MaxObjects: d.number(y, 2000, "max work queue size"), MaxSize: d.text(y, "100 MB", "max work queue data size"),
		Expiration: d.text(y, defaultExpiration, "flowfile expiration"),
	}
	c.Relationships = append(d.texts(y, "source relationship names"), d.texts(y, "source relationship name")...)
	if digits.MatchString(c.MaxSize) {
		c.MaxSize += " B"
	}
	if c.Expiration == "0" {
		c.Expiration = defaultExpiration
	}
	return c
}

// end returns the id of a connection's end. Where there is none, it is found by its name, as
// agents do: that of a processor in the group, or the id of a remote port.
func (d *yamlDecoder) end(y *yamlNode, g *Group, idKey, nameKey string) string {
	id, name := d.text(y, "", idKey), d.text(y, "", nameKey)
	if id != "" || isID(name) {
		return strings.ToLower(cmp.Or(id, name))
	}
	found := ""
	for _, p := range g.Processors {
		if p.Name == name {
			if found != "" {
				d.fail(y, "there are several processors %q: an id is needed", name)
			}
			found = p.ID
		}
	}
	if found == "" {
		d.fail(y, "there is no processor %q, and no %s", name, idKey)
	}
	return found
}

func (d *yamlDecoder) remote(y *yamlNode) *RemoteGroup {
	r := &RemoteGroup{
		Head: d.head(y, "remote"), Targets: d.text(y, "", "url"), Timeout: d.text(y, defaultTimeout, "timeout"),
		Yield: d.text(y, "10 sec", "yield period"), Transport: d.text(y, defaultTransport, "transport protocol"),
		Interface: d.text(y, "", "local network interface"), ProxyHost: d.text(y, "", "proxy host"),
		ProxyUser: d.text(y, "", "proxy user"), ProxyPassword: d.text(y, "", "proxy password"), ProxyPort: int(d.number(y, 0, "proxy port")),
	}
	port := func(n *yamlNode) *RemotePort {
		h := d.head(n, "remote port")
		p := &RemotePort{ID: h.ID, Name: h.Name, Tasks: int(d.number(n, 1, "max concurrent tasks")), Compression: d.flag(n, "use compression")}
		if batch := d.get(n, "batch size"); batch != nil {
			p.BatchCount, p.BatchSize, p.BatchDuration = int(d.number(batch, 0, "count")), d.text(batch, "", "size"), d.text(batch, "", "duration")
		}
		if props := d.get(n, "Properties"); props != nil {
			p.TargetID = strings.ToLower(d.text(props, "", "Port UUID"))
		}
		return p
	}
	d.each(y, func(n *yamlNode) { r.Inputs = append(r.Inputs, port(n)) }, "Input Ports")
	d.each(y, func(n *yamlNode) { r.Outputs = append(r.Outputs, port(n)) }, "Output Ports")
	return r
}
