package lua

import (
	"errors"
	"fmt"
	"sync"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// typedefsSource is the module kong.db.schema.typedefs: descriptions to start from. Each
// can be called with what is to differ.
const typedefsSource = `
local null = ngx.null
local function def(t)
  return setmetatable(t, { __call = function(self, more)
    local copy = {}
    for k, v in pairs(self) do copy[k] = v end
    for k, v in pairs(more or {}) do copy[k] = v end
    return def and def(copy) or copy
  end })
end
local str = function(t) t.type = "string" return def(t) end
local int = function(from, to) return def({ type = "integer", between = { from, to } }) end
local set = function(...) return def({ type = "set", elements = { type = "string", one_of = { ... } } }) end
local absent = function(reference) return def({ type = "foreign", reference = reference, eq = null }) end
return {
  no_consumer = absent("consumers"), no_route = absent("routes"), no_service = absent("services"), no_consumer_group = absent("consumer_groups"),
  protocols = set("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"),
  protocols_http = set("grpc", "grpcs", "http", "https"), protocols_http_and_ws = set("grpc", "grpcs", "http", "https"), protocols_https = set("https", "grpcs"),
  host = str({}), hosts = def({ type = "array", elements = { type = "string" } }), ip = str({}), ip_or_cidr = str({}), cidr_v4 = str({}),
  port = int(0, 65535), path = str({ starts_with = "/" }), url = str({}), timeout = int(0, 2147483646), uuid = str({ uuid = true }), key = str({}), name = str({}),
  header_name = str({}), http_method = str({ match = "^%u+$" }), utf8_name = str({}), tag = str({}), certificate = str({}), semantic_version = str({}),
  methods = def({ type = "set", elements = { type = "string", match = "^%u+$" } }), headers = def({ type = "map", keys = { type = "string" }, values = { type = "array", elements = { type = "string" } } }),
  no_api = absent("apis"), auto_timestamp_s = def({ type = "integer", timestamp = true, auto = true }), tags = def({ type = "set", elements = { type = "string" } }),
  sni = str({}), lua_code = def({ type = "map", keys = { type = "string" }, values = { type = "string" } }), redis = {},
}`

// typedefs runs the module in a state.
func (s *state) typedefs(L *glua.LState) glua.LValue {
	if v := s.modules["kong.db.schema.typedefs"]; v != nil {
		return v
	}
	p, err := s.engine.compile("typedefs", typedefsSource, true)
	if err != nil {
		L.RaiseError("%s", err.Error())
	}
	L.Push(s.load(p).chunk)
	L.Call(0, 1)
	v := L.Get(-1)
	L.Pop(1)
	s.modules["kong.db.schema.typedefs"] = v
	return v
}

// reader turns a schema in Lua into the description of a configuration. Its state stays
// with the functions that check values, which run one at a time.
type reader struct {
	s    *state
	unit *Unit
	prog *Program
	mu   sync.Mutex
}

// plugin reads what schema.lua returns.
func (r *reader) plugin(t *glua.LTable, kind *gateway.Plugin) error {
	fields, ok := t.RawGetString("fields").(*glua.LTable)
	if !ok {
		return errors.New("it has no fields")
	}
	err := r.each(fields, func(name string, f *glua.LTable) error {
		switch name {
		case "consumer", "route", "service":
			if f.RawGetString("eq") == glua.LValue(r.s.null) {
				kind.NoScopes = append(kind.NoScopes, name)
			}
			return nil
		case "protocols":
			elements, _ := f.RawGetString("elements").(*glua.LTable)
			if elements == nil {
				return nil
			}
			allowed, _ := r.list(elements.RawGetString("one_of"))
			for _, p := range schema.Strings(allowed) {
				switch p {
				case "http", "https", "grpc", "grpcs":
					kind.Protocols = append(kind.Protocols, p)
				}
			}
			return nil
		case "config":
			config, err := r.field("config", f)
			if err == nil && config.Kind != schema.Nested {
				err = errors.New("config is no record")
			}
			kind.Config = config
			return err
		case "consumer_group":
			return nil
		}
		return fmt.Errorf("a field %s of the plugin itself is not served", name)
	})
	if err == nil && kind.Config == nil {
		err = errors.New("it has no field config")
	}
	if err != nil {
		return err
	}
	kind.Config.Name = ""
	kind.Checks, err = r.checks(t.RawGetString("entity_checks"))
	return err
}

// each walks a list of tables with one member each.
func (r *reader) each(list *glua.LTable, use func(name string, f *glua.LTable) error) error {
	for i := 1; i <= list.Len(); i++ {
		one, ok := list.RawGetInt(i).(*glua.LTable)
		if !ok {
			return errors.New("an entry of fields is no table")
		}
		k, v := one.Next(glua.LNil)
		f, ok := v.(*glua.LTable)
		if !ok {
			return errors.New("an entry of fields has no description")
		}
		if err := use(glua.LVAsString(k), f); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) list(v glua.LValue) ([]any, error) {
	plain, err := r.s.plain(v)
	list, _ := plain.([]any)
	return list, err
}

// field reads the description of one value.
func (r *reader) field(name string, t *glua.LTable) (*schema.Field, error) {
	f := &schema.Field{Name: name}
	var err error
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{name}, args...)...)
	}
	integer := func(v glua.LValue) *int {
		if n, ok := v.(glua.LNumber); ok {
			return schema.Ptr(int(n))
		}
		return nil
	}
	t.ForEach(func(k, v glua.LValue) {
		if err != nil {
			return
		}
		switch key := glua.LVAsString(k); key {
		case "type":
			f.Kind = schema.Kind(glua.LVAsString(v))
			switch f.Kind {
			case schema.String, schema.Integer, schema.Number, schema.Boolean, schema.Array, schema.Set, schema.Map, schema.Nested, schema.Foreign:
			default:
				err = wrong("a value of type %s is not served", f.Kind)
			}
		case "required":
			f.Required = glua.LVAsBool(v)
		case "default":
			if v != glua.LValue(r.s.null) {
				f.Default, err = r.s.plain(v)
				if object, ok := f.Default.(map[string]any); ok && len(object) == 0 { // {} may be either
					if kind := field(t, "type"); kind == "array" || kind == "set" {
						f.Default = []any{}
					}
				}
			}
		case "one_of":
			f.OneOf, err = r.list(v)
		case "between":
			var bounds []any
			if bounds, err = r.list(v); len(bounds) == 2 {
				from, _ := bounds[0].(float64)
				to, _ := bounds[1].(float64)
				f.Between = []float64{from, to}
			}
		case "gt":
			if n, ok := v.(glua.LNumber); ok {
				f.Gt = schema.Ptr(float64(n))
			}
		case "len_min":
			f.LenMin = integer(v)
		case "len_max":
			f.LenMax = integer(v)
		case "len_eq":
			f.LenMin, f.LenMax = integer(v), integer(v)
		case "starts_with":
			f.StartsWith = glua.LVAsString(v)
		case "uuid":
			f.UUID = glua.LVAsBool(v)
		case "encrypted":
			f.Encrypted = glua.LVAsBool(v)
		case "referenceable":
			f.Referenceable = glua.LVAsBool(v)
		case "timestamp":
			f.Timestamp = glua.LVAsBool(v)
		case "auto":
			f.Auto = glua.LVAsBool(v)
		case "description":
			f.Description = glua.LVAsString(v)
		case "reference":
			f.Reference = glua.LVAsString(v)
		case "elements", "keys", "values":
			inner, ok := v.(*glua.LTable)
			if !ok {
				err = wrong("%s is no table", key)
				return
			}
			var read *schema.Field
			read, err = r.field(key, inner)
			switch key {
			case "elements":
				f.Elements = read
			case "keys":
				f.Keys = read
			default:
				f.Values = read
			}
		case "fields":
			inner, ok := v.(*glua.LTable)
			if !ok {
				err = wrong("fields is no table")
				return
			}
			err = r.each(inner, func(name string, t *glua.LTable) error {
				c, err := r.field(name, t)
				f.Fields = append(f.Fields, c)
				return err
			})
		case "entity_checks":
			f.Checks, err = r.checks(v)
		case "custom_validator":
			fn, ok := v.(*glua.LFunction)
			if !ok {
				err = wrong("custom_validator is no function")
				return
			}
			f.Check = r.validator(f.Check, func(v any) string { return r.custom(fn, v) })
		case "match", "not_match":
			pattern := glua.LVAsString(v)
			f.Check = r.validator(f.Check, func(v any) string { return r.match(pattern, v, key == "match") })
		case "eq", "abstract", "nullable", "err", "hash", "indexed", "immutable", "legacy", "deprecation":
		default:
			err = wrong("the attribute %s is not served", key)
		}
	})
	if err == nil && f.Kind == "" {
		err = wrong("it has no type")
	}
	return f, err
}

func (r *reader) validator(before, then func(any) string) func(any) string {
	if before == nil {
		return then
	}
	return func(v any) string {
		if bad := before(v); bad != "" {
			return bad
		}
		return then(v)
	}
}

// run calls a function and returns what it returns.
func (r *reader) run(fn *glua.LFunction, args ...glua.LValue) (first, second glua.LValue, err error) {
	if r.s.dead {
		return nil, nil, errors.New("an earlier check took too long")
	}
	if err := r.s.call(r.unit, r.prog, InitWorker, fn, 2, args...); err != nil {
		return nil, nil, err
	}
	first, second = r.s.L.Get(-2), r.s.L.Get(-1)
	r.s.L.Pop(2)
	return first, second, nil
}

func (r *reader) custom(fn *glua.LFunction, v any) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ok, why, err := r.run(fn, r.s.lua(v))
	switch {
	case err != nil:
		return err.Error()
	case glua.LVAsBool(ok):
		return ""
	case why != glua.LNil:
		return glua.LVAsString(why)
	}
	return "invalid value"
}

func (r *reader) match(pattern string, v any, want bool) string {
	value, ok := v.(string)
	if !ok {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	found, _, err := r.run(r.s.L.NewFunction(r.s.stringMatch), glua.LString(value), glua.LString(pattern))
	if err != nil {
		return err.Error()
	}
	if (found != glua.LNil) != want {
		return "invalid value: " + value
	}
	return ""
}

// checks reads entity_checks.
func (r *reader) checks(v glua.LValue) ([]schema.Check, error) {
	plain, err := r.s.plain(v)
	if err != nil {
		return nil, err
	}
	list, _ := plain.([]any)
	var out []schema.Check
	for _, e := range list {
		c, _ := e.(map[string]any)
		for name, arg := range c {
			names := schema.Strings(arg)
			switch name {
			case "at_least_one_of":
				out = append(out, schema.Check{AtLeastOneOf: names})
			case "only_one_of":
				out = append(out, schema.Check{OnlyOneOf: names})
			case "mutually_exclusive":
				out = append(out, schema.Check{MutuallyExclusive: names})
			case "mutually_required":
				out = append(out, schema.Check{AllOrNone: names})
			case "distinct":
				out = append(out, schema.Check{Distinct: names})
			case "conditional":
				spec, _ := arg.(map[string]any)
				out = append(out, schema.Check{If: conditional(spec)})
			default:
				return nil, fmt.Errorf("the entity check %s is not served", name)
			}
		}
	}
	return out, nil
}

func conditional(spec map[string]any) *schema.Conditional {
	c := &schema.Conditional{}
	c.Field, _ = spec["if_field"].(string)
	c.Then, _ = spec["then_field"].(string)
	c.Err, _ = spec["then_err"].(string)
	if match, ok := spec["if_match"].(map[string]any); ok {
		c.Is, _ = match["one_of"].([]any)
		if v, set := match["eq"]; set {
			c.Is = []any{v}
		}
	}
	if match, ok := spec["then_match"].(map[string]any); ok {
		c.Match.Required, _ = match["required"].(bool)
		c.Match.OneOf, _ = match["one_of"].([]any)
		v, set := match["eq"]
		c.Match.EqNull = set && v == nil
		c.Match.LenEq0 = match["len_eq"] == 0.0
	}
	return c
}
