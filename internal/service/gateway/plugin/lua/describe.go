package lua

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

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
		case "not_one_of":
			var none []any
			none, err = r.list(v)
			f.Check = r.validator(f.Check, func(v any) string {
				if slices.ContainsFunc(none, func(n any) bool { return schema.Equal(n, v) }) {
					return "must not be one of: " + joined(none)
				}
				return ""
			})
		case "ne":
			var other any
			other, err = r.s.plain(v)
			f.Check = r.validator(f.Check, func(v any) string {
				if schema.Equal(other, v) {
					return "value must not be " + fmt.Sprint(other)
				}
				return ""
			})
		case "contains":
			var member any
			member, err = r.s.plain(v)
			f.Check = r.validator(f.Check, func(v any) string {
				if list, ok := v.([]any); ok && !slices.ContainsFunc(list, func(e any) bool { return schema.Equal(e, member) }) {
					return "expected to contain: " + fmt.Sprint(member)
				}
				return ""
			})
		case "format":
			check, known := gateway.Format(glua.LVAsString(v))
			if !known {
				err = wrong("there is no format %s", glua.LVAsString(v))
				return
			}
			f.Check = r.validator(f.Check, check)
		case "is_regex":
			f.Check = r.validator(f.Check, func(v any) string {
				if text, ok := v.(string); ok {
					if _, err := regexp.Compile(text); err != nil {
						return "not a valid regex: " + text
					}
				}
				return ""
			})
		case "match_all", "match_any", "match_none":
			err = r.matches(f, key, v)
			if err != nil {
				err = wrong("%s", err)
			}
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
			if err != nil && f.Name != "config" {
				err = fmt.Errorf("%s.%w", f.Name, err)
			}
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
		case "eq", "abstract", "nullable", "err", "hash", "indexed", "immutable", "legacy", "deprecation", "unique", "examples", "cache_key", "json_schema", "prefix_ws":
		default:
			err = wrong("the attribute %s is not served", key)
		}
	})
	if err == nil && f.Kind == "" {
		err = wrong("it has no type")
	}
	return f, err
}

// matches reads match_all, match_any and match_none: patterns, each with an error of its own.
func (r *reader) matches(f *schema.Field, kind string, v glua.LValue) error {
	plain, err := r.s.plain(v)
	if err != nil {
		return err
	}
	of, _ := plain.(map[string]any)
	list, _ := plain.([]any)
	if of != nil { // match_any has one error for all
		for _, p := range schema.Strings(of["patterns"]) {
			list = append(list, map[string]any{"pattern": p})
		}
	}
	type one struct{ pattern, err string }
	var all []one
	for _, e := range list {
		spec, _ := e.(map[string]any)
		pattern, _ := spec["pattern"].(string)
		message, _ := spec["err"].(string)
		if pattern == "" {
			return fmt.Errorf("%s has an entry without a pattern", kind)
		}
		all = append(all, one{pattern, message})
	}
	f.Check = r.validator(f.Check, func(v any) string {
		found := false
		for _, p := range all {
			bad := r.match(p.pattern, v, kind != "match_none")
			found = found || bad == ""
			if bad != "" && kind != "match_any" {
				return cmp.Or(p.err, bad)
			}
		}
		if kind == "match_any" && !found && len(all) > 0 {
			message, _ := of["err"].(string)
			return cmp.Or(message, "invalid value: "+fmt.Sprint(v))
		}
		return ""
	})
	return nil
}

// joined lists values as Kong's messages do.
func joined(values []any) string {
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = fmt.Sprint(v)
	}
	return strings.Join(text, ", ")
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
	entries, ok := v.(*glua.LTable)
	if !ok {
		return nil, nil
	}
	var out []schema.Check
	for i := 1; i <= entries.Len(); i++ {
		one, ok := entries.RawGetInt(i).(*glua.LTable)
		if !ok {
			return nil, errors.New("an entry of entity_checks is no table")
		}
		k, arg := one.Next(glua.LNil)
		c, err := r.entityCheck(glua.LVAsString(k), arg)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (r *reader) entityCheck(name string, arg glua.LValue) (schema.Check, error) {
	if name == "custom_entity_check" {
		spec, _ := arg.(*glua.LTable)
		if spec == nil {
			return schema.Check{}, errors.New("custom_entity_check is no table")
		}
		fn, ok := spec.RawGetString("fn").(*glua.LFunction)
		if !ok {
			return schema.Check{}, errors.New("custom_entity_check has no function fn")
		}
		return schema.Check{Custom: func(record schema.Record, bad func(field, msg string)) {
			if why := r.custom(fn, map[string]any(record)); why != "" {
				bad("", why)
			}
		}}, nil
	}
	plain, err := r.s.plain(arg)
	if err != nil {
		return schema.Check{}, fmt.Errorf("%s: %w", name, err)
	}
	names := schema.Strings(plain)
	spec, _ := plain.(map[string]any)
	switch name {
	case "at_least_one_of":
		return schema.Check{AtLeastOneOf: names}, nil
	case "only_one_of":
		return schema.Check{OnlyOneOf: names}, nil
	case "mutually_exclusive":
		return schema.Check{MutuallyExclusive: names}, nil
	case "mutually_required":
		return schema.Check{AllOrNone: names}, nil
	case "distinct":
		return schema.Check{Distinct: names}, nil
	case "conditional":
		return schema.Check{If: conditional(spec)}, nil
	case "conditional_at_least_one_of":
		c := conditional(spec)
		return schema.Check{Custom: func(record schema.Record, bad func(field, msg string)) {
			set := func(name string) bool { return !schema.Empty(schema.At(record, name)) }
			value := schema.At(record, c.Field)
			holds := len(c.Is) == 0 && value != nil || slices.ContainsFunc(c.Is, func(v any) bool { return schema.Equal(v, value) })
			if any := schema.Strings(spec["then_at_least_one_of"]); holds && !slices.ContainsFunc(any, set) {
				bad("", cmp.Or(c.Err, "at least one of these fields must be non-empty: '"+strings.Join(any, "', '")+"'"))
			}
		}}, nil
	case "mutually_exclusive_sets":
		first, second := schema.Strings(spec["set1"]), schema.Strings(spec["set2"])
		return schema.Check{Custom: func(record schema.Record, bad func(field, msg string)) {
			set := func(name string) bool { return !schema.Empty(schema.At(record, name)) }
			if slices.ContainsFunc(first, set) && slices.ContainsFunc(second, set) {
				bad("", "these sets are mutually exclusive: ('"+strings.Join(first, "', '")+"'), ('"+strings.Join(second, "', '")+"')")
			}
		}}, nil
	}
	return schema.Check{}, fmt.Errorf("the entity check %s is not served", name)
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
