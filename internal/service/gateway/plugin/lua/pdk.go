package lua

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// openKong makes the global kong. Its parts are made when they are first asked for.
func (s *state) openKong() glua.LValue {
	t := s.L.NewTable()
	t.RawSetString("version", glua.LString(gateway.Version))
	t.RawSetString("version_num", glua.LNumber(3009001))
	t.RawSetString("pdk_major_version", glua.LNumber(2))
	yes := func(v glua.LValue) glua.LGFunction { return func(L *glua.LState) int { L.Push(v); return 1 } }
	part := func(list map[string]glua.LGFunction) func() glua.LValue {
		return func() glua.LValue { return s.seal(s.functions(list)) }
	}
	s.lazy(t, map[string]func() glua.LValue{
		"request": s.kongRequest, "service": s.kongService, "response": s.kongResponse, "client": s.kongClient, "log": s.kongLog,
		"ctx": s.kongContext, "cache": s.kongCache, "db": s.kongDB,
		"router": part(map[string]glua.LGFunction{
			"get_route": func(L *glua.LState) int {
				r := s.exchange(L).Route()
				if r == nil {
					return 0
				}
				return s.pushJSON(L, r.JSON())
			},
			"get_service": func(L *glua.LState) int {
				u := s.exchange(L).Upstream.Service
				if u == nil {
					return 0
				}
				return s.pushJSON(L, u.JSON())
			},
		}),
		"node": part(map[string]glua.LGFunction{
			"get_id":           yes(glua.LString(s.engine.deps.NodeID)),
			"get_hostname":     yes(glua.LString(s.engine.hostname)),
			"get_memory_stats": func(L *glua.LState) int { L.Push(L.NewTable()); return 1 },
		}),
		"nginx": part(map[string]glua.LGFunction{
			"get_subsystem": yes(glua.LString("http")), "get_version": yes(glua.LString(gateway.Version)),
		}),
		"plugin": part(map[string]glua.LGFunction{"get_id": func(L *glua.LState) int {
			if s.unit == nil {
				return 0
			}
			return pushText(L, s.unit.Env.ID)
		}}),
		"ip":    part(map[string]glua.LGFunction{"is_trusted": s.isTrusted}),
		"vault": part(map[string]glua.LGFunction{"is_reference": isReference, "get": s.vaultGet}),
		"table": part(map[string]glua.LGFunction{
			"new": func(L *glua.LState) int { L.Push(L.NewTable()); return 1 }, "clear": func(L *glua.LState) int { clearTable(L.CheckTable(1)); return 0 },
		}),
		"configuration": func() glua.LValue { return s.seal(s.L.NewTable()) },
	})
	return s.seal(t)
}

// pushJSON pushes a stored entity.
func (s *state) pushJSON(L *glua.LState, raw []byte) int {
	var r map[string]any
	if err := json.Unmarshal(raw, &r); err != nil {
		return fail(L, err)
	}
	L.Push(s.record(r))
	return 1
}

// kongContext makes kong.ctx: tables that live as long as the request.
func (s *state) kongContext() glua.LValue {
	meta := s.L.NewTable()
	meta.RawSetString("__index", s.L.NewFunction(func(L *glua.LState) int {
		switch glua.LVAsString(L.Get(2)) {
		case "shared":
			if s.shared == nil {
				s.shared = L.NewTable()
			}
			L.Push(s.shared)
		case "plugin":
			if s.own == nil {
				s.own = map[*Unit]*glua.LTable{}
			}
			if s.own[s.unit] == nil {
				s.own[s.unit] = L.NewTable()
			}
			L.Push(s.own[s.unit])
		default:
			return 0
		}
		return 1
	}))
	return s.sealed(meta)
}

// isTrusted is kong.ip.is_trusted: whether an address is among the trusted_ips.
func (s *state) isTrusted(L *glua.LState) int {
	a, err := netip.ParseAddr(L.CheckString(1))
	L.Push(glua.LBool(err == nil && s.engine.trusts(a.Unmap())))
	return 1
}

func isReference(L *glua.LState) int {
	ref, _ := L.Get(1).(glua.LString)
	L.Push(glua.LBool(strings.HasPrefix(string(ref), "{vault://") && strings.HasSuffix(string(ref), "}")))
	return 1
}

func (s *state) vaultGet(L *glua.LState) int {
	secret, err := s.unit.Env.Directory.Secret(L.CheckString(1))
	if err != nil {
		return fail(L, err)
	}
	return pushText(L, secret)
}

// kongClient makes kong.client.
func (s *state) kongClient() glua.LValue {
	port := func(L *glua.LState, n uint16) int {
		if n == 0 { // a trusted peer told an address alone
			return 0
		}
		return s.pushNumber(L, float64(n))
	}
	t := s.functions(map[string]glua.LGFunction{
		// The peer, and behind a trusted one the client.
		"get_ip":             func(L *glua.LState) int { L.Push(own(s.exchange(L).Conn.PeerIP)); return 1 },
		"get_port":           func(L *glua.LState) int { return port(L, s.exchange(L).Conn.Peer.Port()) },
		"get_forwarded_ip":   func(L *glua.LState) int { L.Push(own(s.exchange(L).ClientIP())); return 1 },
		"get_forwarded_port": func(L *glua.LState) int { return port(L, s.exchange(L).Client().Port()) },
		"get_protocol":       func(L *glua.LState) int { L.Push(own(s.exchange(L).Request.Scheme)); return 1 },
		"get_consumer": func(L *glua.LState) int {
			if c := s.exchange(L).Consumer(); c != nil {
				L.Push(s.consumer(c))
				return 1
			}
			return 0
		},
		"get_credential": func(L *glua.LState) int {
			c := s.exchange(L).Credential()
			if c == nil {
				return 0
			}
			t := L.NewTable()
			t.RawSetString("id", orNil(c.ID))
			t.RawSetString("consumer_id", orNil(c.ConsumerID))
			L.Push(t)
			return 1
		},
		"load_consumer": func(L *glua.LState) int {
			key := L.CheckString(1)
			if !schema.IsUUID(key) && !L.ToBool(2) {
				L.RaiseError("cannot load a consumer with an id that is not a uuid")
			}
			c, ok := s.unit.Env.Directory.Consumer(key)
			if !ok {
				return 0
			}
			L.Push(s.consumer(c))
			return 1
		},
		"authenticate": s.authenticate,
		"authenticate_consumer_group_by_consumer_id": func(*glua.LState) int { return 0 }, // groups of consumers are Enterprise's
		"get_consumer_group":                         func(*glua.LState) int { return 0 },
		"get_consumer_groups":                        func(*glua.LState) int { return 0 },
		"set_authenticated_consumer_group":           func(*glua.LState) int { return 0 },
	})
	s.lazy(t, map[string]func() glua.LValue{"tls": s.clientTLS})
	return s.seal(t)
}

func (s *state) consumer(c *gateway.Consumer) *glua.LTable {
	t := s.L.NewTable()
	t.RawSetString("id", orNil(c.ID))
	t.RawSetString("username", orNil(c.Username))
	t.RawSetString("custom_id", orNil(c.CustomID))
	t.RawSetString("created_at", glua.LNumber(c.CreatedAt))
	t.RawSetString("updated_at", glua.LNumber(c.UpdatedAt))
	if len(c.Tags) > 0 {
		t.RawSetString("tags", s.lua(c.Tags))
	}
	return t
}

// authenticate is kong.client.authenticate: a consumer, a credential, or both, as tables.
func (s *state) authenticate(L *glua.LState) int {
	x := s.forwarded(L)
	who, _ := L.Get(1).(*glua.LTable)
	by, _ := L.Get(2).(*glua.LTable)
	if who == nil && by == nil {
		L.RaiseError("either credential or consumer must be provided")
	}
	c := &gateway.Consumer{}
	if who != nil {
		id := field(who, "id")
		if stored, ok := s.unit.Env.Directory.Consumer(id); ok && id != "" {
			c = stored
		} else {
			c = &gateway.Consumer{ID: id, Username: field(who, "username"), CustomID: field(who, "custom_id")}
		}
	}
	var credential *gateway.Credential
	if by != nil {
		credential = &gateway.Credential{ID: field(by, "id"), ConsumerID: c.ID}
		for _, name := range []string{"username", "key", "id"} { // what the credential goes by; a key-auth key is a secret and has an id
			if v := field(by, name); v != "" && name != "key" {
				credential.Identifier = v
				break
			}
		}
	}
	x.Authenticate(c, credential)
	return 0
}

// serializeOp is a field that kong.log.set_serialize_value adds to log records.
type serializeOp struct {
	key   string
	value any
	mode  string
}

// kongLog makes kong.log, which is a function too.
func (s *state) kongLog() glua.LValue {
	t := s.L.NewTable()
	for name, level := range levelNames {
		t.RawSetString(strings.ToLower(name), s.L.NewFunction(func(L *glua.LState) int { return s.logLine(L, level, 1) }))
	}
	t.RawSetString("inspect", s.L.NewFunction(func(L *glua.LState) int {
		var parts []string
		for i := 1; i <= L.GetTop(); i++ {
			if out, err := s.encode(nil, L.Get(i), 0); err == nil {
				parts = append(parts, strings.ReplaceAll(string(out), `\/`, "/"))
			} else {
				parts = append(parts, L.Get(i).String())
			}
		}
		L.SetTop(0)
		L.Push(glua.LString(strings.Join(parts, " ")))
		return s.logLine(L, levelDebug, 1)
	}))
	t.RawSetString("deprecation", s.L.NewFunction(func(L *glua.LState) int { return s.logLine(L, levelWarn, 1) }))
	t.RawSetString("set_format", s.L.NewFunction(func(*glua.LState) int { return 0 }))
	t.RawSetString("new", s.L.NewFunction(func(L *glua.LState) int { L.Push(s.kongLog()); return 1 }))
	t.RawSetString("serialize", s.L.NewFunction(s.serializeRecord))
	t.RawSetString("set_serialize_value", s.L.NewFunction(func(L *glua.LState) int {
		key := L.CheckString(1)
		v, err := s.plain(L.Get(2))
		if err != nil {
			L.RaiseError("value must be a number, string, boolean or table: %s", err.Error())
		}
		mode := "set"
		if o, ok := L.Get(3).(*glua.LTable); ok && field(o, "mode") != "" {
			mode = field(o, "mode")
		}
		s.serialize = append(s.serialize, serializeOp{key, v, mode})
		return 0
	}))
	meta := s.L.NewTable()
	meta.RawSetString("__index", t)
	meta.RawSetString("__call", s.L.NewFunction(func(L *glua.LState) int { return s.logLine(L, levelNotice, 2) }))
	return s.sealed(meta)
}

func (s *state) serializeRecord(L *glua.LState) int {
	var r map[string]any
	if err := json.Unmarshal(record.Append(nil, s.exchange(L)), &r); err != nil {
		return fail(L, err)
	}
	for _, op := range s.serialize {
		path := strings.Split(op.key, ".")
		if there := schema.At(r, op.key) != nil; op.mode == "add" && there || op.mode == "replace" && !there {
			continue
		}
		record.Place(r, path, op.value)
	}
	L.Push(s.record(r))
	return 1
}

// uuidModule is kong.tools.uuid.
func (s *state) uuidModule() glua.LValue {
	return s.seal(s.functions(map[string]glua.LGFunction{
		"uuid":          func(L *glua.LState) int { return pushText(L, uuid.NewString()) },
		"is_valid_uuid": func(L *glua.LState) int { L.Push(glua.LBool(schema.IsUUID(L.OptString(1, "")))); return 1 },
	}))
}

// ttlOf reads the ttl, seconds, of a cache's options; 0: for good.
func ttlOf(opts glua.LValue, name string) time.Duration {
	if t, ok := opts.(*glua.LTable); ok {
		if n, ok := t.RawGetString(name).(glua.LNumber); ok {
			return time.Duration(float64(n) * float64(time.Second))
		}
	}
	return 0
}
